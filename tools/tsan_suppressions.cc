// What ThreadSanitizer is not to report, compiled into every program of the preset `tsan`: workers in containers see no file of ours.
extern "C" const char*
__tsan_default_suppressions();  // NOLINT(bugprone-reserved-identifier): the runtime's name

extern "C" const char* __tsan_default_suppressions() {  // NOLINT(bugprone-reserved-identifier)
  return
      // Debian's gRPC and abseil are not built for ThreadSanitizer, so what they order between threads is invisible to it.
      "race:libgrpc.so\n"
      "race:libgrpc++.so\n"
      "race:libabsl_strings.so\n"
      // Inlined from grpc++'s headers: operations written by one thread, freed by another after the completion queue's event.
      "race:grpc::internal::CallOp\n";
}
