# src/proto/*.proto -> library ek_proto (messages and gRPC stubs). Generated code is compiled without our warnings.
file(GLOB protos CONFIGURE_DEPENDS src/proto/*.proto)
set(proto_out ${CMAKE_BINARY_DIR}/generated)
file(MAKE_DIRECTORY ${proto_out}/proto)
set(proto_sources)
find_program(GRPC_CPP_PLUGIN grpc_cpp_plugin REQUIRED)
foreach(proto ${protos})
  get_filename_component(name ${proto} NAME_WE)
  set(out ${proto_out}/proto/${name})
  add_custom_command(
    OUTPUT ${out}.pb.cc ${out}.pb.h ${out}.grpc.pb.cc ${out}.grpc.pb.h
    COMMAND protobuf::protoc -I ${CMAKE_SOURCE_DIR}/src --cpp_out=${proto_out} --grpc_out=${proto_out}
            --plugin=protoc-gen-grpc=${GRPC_CPP_PLUGIN} ${proto}
    DEPENDS ${proto} ${protos})
  list(APPEND proto_sources ${out}.pb.cc ${out}.grpc.pb.cc)
endforeach()
if(proto_sources)
  add_library(ek_proto STATIC ${proto_sources})
  target_compile_options(ek_proto PRIVATE -w)
  target_include_directories(ek_proto SYSTEM PUBLIC ${proto_out})
  target_link_libraries(ek_proto PUBLIC protobuf::libprotobuf gRPC::grpc++)
else()
  add_library(ek_proto INTERFACE)
endif()
