#include "cluster/models/model_copy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>

#include <filesystem>
#include <functional>
#include <memory>

#include "cluster/models/copy_pace.h"
#include "cluster/models/models_test_kit.h"
#include "cluster/models/partial_copy.h"
#include "core/format.h"

namespace evenkeel {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;

// A node that has the model, and what is wrong with it.
class FakeSource final : public ModelSource {
 public:
  FakeSource(std::string node, const std::string& folder)
      : node_(std::move(node)), files_(folder) {}
  const std::string& node() const override { return node_; }
  Result<ModelListing> List(const std::string& model) override {
    ++lists;
    if (dead) return Unavailable("no link");
    auto listing = files_.List(model);
    if (listing.ok() && alter) alter(*listing);
    return listing;
  }
  Result<std::string> Read(const FilePiece& piece) override {
    ++reads;
    if (dead) return Unavailable("no link");
    auto bytes = files_.Read(piece);
    if (!bytes.ok()) return bytes;
    sent += bytes->size();
    if (spoil) spoil(piece, *bytes);
    if (sent >= dies_after) dead = true;
    return bytes;
  }

  int lists = 0, reads = 0;
  uint64_t sent = 0, dies_after = ~uint64_t{0};
  bool dead = false;
  std::function<void(ModelListing&)> alter;
  std::function<void(const FilePiece&, std::string&)> spoil;

 private:
  const std::string node_;
  ModelFiles files_;
};

std::string Noise(size_t bytes, uint32_t seed) {
  std::string text(bytes, '\0');
  for (char& c : text) {
    seed = seed * 1'664'525 + 1'013'904'223;
    c = static_cast<char>(seed >> 24);
  }
  return text;
}

class ModelCopyTest : public testing::Test {
 protected:
  ModelCopyTest() {
    theirs_.Write("bert/model.onnx", model_);
    theirs_.Write("bert/1/labels.txt", "a\nb\n");
    theirs_.Write("bert/1/empty", "");
    theirs_.MakeFolder("bert/2");
    options_.bytes_per_s = 4 << 20;
    options_.spare_bytes = 0;
    options_.sleep = [this](Duration time) {
      slept_ += time;
      clock_.Advance(time);
    };
    options_.stopped = [this] { return stop_; };
    options_.report = [this](const CopyProgress& progress) { progress_ = progress; };
    digest_ = ModelFiles(theirs_.path()).List("bert")->digest;
    bytes_ = model_.size() + 4;
  }

  Result<ModelListing> Copy(std::vector<FakeSource*> sources, const std::string& model = "bert") {
    const std::vector<ModelSource*> all(sources.begin(), sources.end());
    return CopyModel({model, digest_, PartialFolder(ours_.path(), state_.path())}, own_, all,
                     clock_, options_);
  }
  // Nothing that a server would take for a model.
  std::vector<std::string> InTheModelsFolder() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(ours_.path())) {
      if (!entry.path().filename().string().starts_with('.'))
        names.push_back(entry.path().filename().string());
    }
    return names;
  }

  const std::string model_ = Noise(3'000'000, 1);
  ScratchFolder theirs_, ours_, state_;
  ModelFiles own_{ours_.path()};
  FakeSource a_{"a", theirs_.path()}, b_{"b", theirs_.path()};
  ManualClock clock_;
  CopyOptions options_;
  CopyProgress progress_;
  Duration slept_{};
  std::string digest_;
  uint64_t bytes_ = 0;
  bool stop_ = false;
};

TEST_F(ModelCopyTest, AModelComesWholeAndIsTheSame) {
  const auto copied = Copy({&a_});
  ASSERT_TRUE(copied.ok()) << copied.status().message();
  EXPECT_EQ(copied->digest, digest_);
  EXPECT_EQ(ours_.Read("bert/model.onnx"), model_);
  EXPECT_EQ(own_.List("bert")->digest, digest_);
  EXPECT_TRUE(ours_.Has("bert/2"));
  EXPECT_EQ(progress_.done, bytes_);
  EXPECT_EQ(progress_.total, bytes_);
  EXPECT_EQ(progress_.fetched, bytes_);
  EXPECT_EQ(progress_.from, "a");
  EXPECT_TRUE(fs::is_empty(state_.path() + "/incoming"));
  // Once more: it is there.
  EXPECT_TRUE(Copy({&a_}).ok());
  EXPECT_EQ(a_.lists, 1);
}

TEST_F(ModelCopyTest, AFileThatStandsAloneStaysOne) {
  theirs_.Write("digits.onnx", "weights");
  digest_ = DigestOfBytes("weights");
  ASSERT_TRUE(Copy({&a_}, "digits").ok());
  EXPECT_EQ(ours_.Read("digits.onnx"), "weights");
}

TEST_F(ModelCopyTest, ItGoesAsFastAsItMayAndNoFaster) {
  ASSERT_TRUE(Copy({&a_}).ok());
  const double least = static_cast<double>(bytes_ - kMostPieceBytes) / (4 << 20);
  EXPECT_GE(Seconds(slept_), least);
  EXPECT_LE(Seconds(slept_), static_cast<double>(bytes_) / (4 << 20) + 0.01);
}

TEST_F(ModelCopyTest, AnotherNodeGoesOnWhereTheFirstBrokeOff) {
  a_.dies_after = 1'500'000;
  ASSERT_TRUE(Copy({&a_, &b_}).ok());
  EXPECT_EQ(a_.sent + b_.sent, bytes_);
  EXPECT_GT(b_.sent, 0U);
  EXPECT_EQ(progress_.fetched, bytes_);
}

TEST_F(ModelCopyTest, WhatBrokeOffIsResumedLaterByteForByte) {
  a_.dies_after = 1'500'000;
  const auto broken = Copy({&a_});
  EXPECT_EQ(broken.status().code(), Code::kUnavailable);
  EXPECT_THAT(broken.status().message(), HasSubstr("node 'a'"));
  EXPECT_GE(slept_, options_.patience);
  EXPECT_TRUE(InTheModelsFolder().empty());
  const uint64_t first = a_.sent;
  FakeSource back("a", theirs_.path());
  ASSERT_TRUE(Copy({&back}).ok());
  EXPECT_EQ(progress_.resumed, first);
  EXPECT_EQ(first + back.sent, bytes_);
  EXPECT_EQ(ours_.Read("bert/model.onnx"), model_);
}

TEST_F(ModelCopyTest, ASourceThatComesBackInTimeIsGoneOnWith) {
  a_.dies_after = 1'500'000;
  int waits = 0;
  options_.sleep = [&](Duration time) {
    clock_.Advance(time);
    if (a_.dead && ++waits == 5) {
      a_.dead = false;
      a_.dies_after = ~uint64_t{0};
    }
  };
  ASSERT_TRUE(Copy({&a_}).ok());
  EXPECT_EQ(a_.sent, bytes_);
}

TEST_F(ModelCopyTest, AFlippedBitIsNoticedAndTheFileFetchedAgain) {
  int spoilt = 0;
  a_.spoil = [&](const FilePiece& piece, std::string& bytes) {
    if (piece.path == "model.onnx" && piece.offset == 0 && spoilt++ < 1) bytes[5] ^= 1;
  };
  ASSERT_TRUE(Copy({&a_}).ok());
  EXPECT_EQ(ours_.Read("bert/model.onnx"), model_);
  EXPECT_EQ(progress_.fetched, bytes_ + model_.size());
  EXPECT_EQ(progress_.done, bytes_);
}

TEST_F(ModelCopyTest, AfterThreeWrongOnesAnotherNodeIsAsked) {
  int wrong = 0;
  a_.spoil = [&](const FilePiece& piece, std::string& bytes) {
    if (piece.path == "model.onnx" && piece.offset == 0) {
      ++wrong;
      bytes[5] ^= 1;
    }
  };
  ASSERT_TRUE(Copy({&a_, &b_}).ok());
  EXPECT_EQ(wrong, 1 + kRefetches);
  EXPECT_EQ(progress_.from, "b");
  EXPECT_EQ(ours_.Read("bert/model.onnx"), model_);
}

TEST_F(ModelCopyTest, WhereNoNodeGivesTheRightBytesTheModelIsNotTaken) {
  a_.spoil = [](const FilePiece& piece, std::string& bytes) {
    if (piece.path == "model.onnx") bytes[0] ^= 1;
  };
  const auto copied = Copy({&a_});
  EXPECT_EQ(copied.status().code(), Code::kInvalidArgument);
  EXPECT_THAT(copied.status().message(), HasSubstr("'model.onnx'"));
  EXPECT_TRUE(InTheModelsFolder().empty());
}

TEST_F(ModelCopyTest, BitsThatFlippedOnTheDiskMeanwhileAreFetchedAgain) {
  a_.dies_after = 1'500'000;
  EXPECT_FALSE(Copy({&a_}).ok());
  const std::string partial = state_.path() + "/incoming/bert@" + digest_ + "/model.onnx";
  std::string bytes = state_.Read("incoming/bert@" + digest_ + "/model.onnx");
  ASSERT_GT(bytes.size(), 1'000'000U);
  bytes[10] ^= 1;
  std::ofstream(partial, std::ios::binary) << bytes;
  ASSERT_TRUE(Copy({&b_}).ok());
  EXPECT_EQ(ours_.Read("bert/model.onnx"), model_);
}

TEST_F(ModelCopyTest, LiesAboutSizesAndNamesAreNoticed) {
  for (const auto& [alter, code] : std::vector<std::pair<std::function<void(ModelListing&)>, Code>>{
           {[](ModelListing& listing) { listing.bytes += 1; }, Code::kInvalidArgument},
           {[](ModelListing& listing) { listing.files[0].path = "../../../etc/x"; },
            Code::kInvalidArgument},
           {[](ModelListing& listing) { listing.files[2].bytes += 1, listing.bytes += 1; },
            Code::kInvalidArgument},
           {[](ModelListing& listing) { listing.files[2].bytes -= 1, listing.bytes -= 1; },
            Code::kInvalidArgument},
           {[](ModelListing& listing) {
              listing.files[2].sha256 = DigestOfBytes("other");
              listing.digest = ContentDigest(listing);
            },
            Code::kConflict}}) {
    FakeSource liar("liar", theirs_.path());
    liar.alter = alter;
    const auto copied = Copy({&liar});
    EXPECT_EQ(copied.status().code(), code) << copied.status().message();
    EXPECT_TRUE(InTheModelsFolder().empty());
    EXPECT_FALSE(fs::exists(state_.path() + "/../etc"));
  }
  a_.spoil = [](const FilePiece&, std::string& bytes) { bytes += "more than was asked for"; };
  EXPECT_EQ(Copy({&a_}).status().code(), Code::kInvalidArgument);
  b_.spoil = [](const FilePiece&, std::string& bytes) { bytes.clear(); };
  EXPECT_EQ(Copy({&b_}).status().code(), Code::kInvalidArgument);
}

TEST_F(ModelCopyTest, ShortPiecesAreFine) {
  a_.spoil = [](const FilePiece& piece, std::string& bytes) {
    if (piece.path == "model.onnx") bytes.resize((bytes.size() + 1) / 2);
  };
  ASSERT_TRUE(Copy({&a_}).ok());
  EXPECT_EQ(ours_.Read("bert/model.onnx"), model_);
}

TEST_F(ModelCopyTest, AnotherContentUnderTheNameIsRefusedWithBothDigests) {
  ours_.Write("bert.onnx", "mine");
  const auto copied = Copy({&a_});
  EXPECT_EQ(copied.status().code(), Code::kConflict);
  EXPECT_THAT(copied.status().message(), HasSubstr(digest_));
  EXPECT_THAT(copied.status().message(), HasSubstr(DigestOfBytes("mine")));
  EXPECT_EQ(a_.reads, 0);
  EXPECT_EQ(ours_.Read("bert.onnx"), "mine");
}

TEST_F(ModelCopyTest, WhoPutsAModelThereMeanwhileKeepsIt) {
  a_.spoil = [this](const FilePiece&, std::string&) { ours_.Write("bert.onnx", "mine"); };
  EXPECT_EQ(Copy({&a_}).status().code(), Code::kConflict);
  EXPECT_THAT(InTheModelsFolder(), testing::ElementsAre("bert.onnx"));
}

TEST_F(ModelCopyTest, AStoppedCopyStopsAndIsKept) {
  a_.spoil = [this](const FilePiece&, std::string&) { stop_ = true; };
  EXPECT_EQ(Copy({&a_}).status().code(), Code::kCancelled);
  stop_ = false;
  ASSERT_TRUE(Copy({&b_}).ok());
  EXPECT_GT(progress_.resumed, 0U);
}

TEST_F(ModelCopyTest, ADiskWithTooLittleRoomIsSaidBeforeAByteComes) {
  options_.spare_bytes = uint64_t{1} << 60;
  const auto copied = Copy({&a_});
  EXPECT_EQ(copied.status().code(), Code::kUnavailable);
  EXPECT_THAT(copied.status().message(), HasSubstr("free"));
  EXPECT_EQ(a_.reads, 0);
}

TEST_F(ModelCopyTest, ADiskThatFillsUpMeanwhileLeavesNothing) {
  ScratchFolder small;
  if (::mount("tmpfs", small.path().c_str(), "tmpfs", 0, "size=4m") != 0)
    GTEST_SKIP() << "can't mount a tmpfs here";
  {
    ModelFiles own(small.path());
    bool filled = false;
    a_.spoil = [&](const FilePiece&, std::string&) {
      if (!filled) small.Write("neighbour", std::string(4 << 20, 'x'));
      filled = true;
    };
    const std::string partial = PartialFolder(small.path(), state_.path());
    EXPECT_EQ(partial, small.path() + "/.incoming");  // one rename has to do
    std::vector<ModelSource*> sources = {&a_, &b_};
    const auto copied = CopyModel({"bert", digest_, partial}, own, sources, clock_, options_);
    EXPECT_EQ(copied.status().code(), Code::kUnavailable);
    EXPECT_THAT(copied.status().message(), HasSubstr("full"));
    EXPECT_EQ(b_.lists, 0);  // another node would not help
    EXPECT_FALSE(small.Has("bert"));
    EXPECT_TRUE(fs::is_empty(partial));
    fs::remove(small.path() + "/neighbour");
    a_.spoil = nullptr;
    EXPECT_TRUE(CopyModel({"bert", digest_, partial}, own, sources, clock_, options_).ok());
    EXPECT_EQ(small.Read("bert/model.onnx"), model_);
  }
  EXPECT_EQ(::umount(small.path().c_str()), 0);
}

TEST(RemoveOldPartialsTest, WhatNobodyWentOnWithGoes) {
  const ScratchFolder partial;
  for (const char* name : {"old@1/a/file", "new@2/a/file", "begun@3/old", "begun@3/new"})
    partial.Write(name, "bytes");
  const auto ago = fs::file_time_type::clock::now() - std::chrono::hours(50);
  for (const char* name : {"old@1/a/file", "old@1/a", "old@1", "begun@3/old", "begun@3"})
    fs::last_write_time(partial.path() + "/" + name, ago);
  RemoveOldPartials(partial.path(), std::chrono::hours(48));
  EXPECT_FALSE(partial.Has("old@1"));
  EXPECT_TRUE(partial.Has("new@2/a/file"));
  EXPECT_TRUE(partial.Has("begun@3/old"));
  RemoveOldPartials(partial.path() + "/nothere", std::chrono::hours(0));
}

TEST(CopyPaceTest, BytesNeverOutrunTheRate) {
  ManualClock clock;
  CopyPace pace(1000);
  uint64_t bytes = 0;
  const Time begin = clock.Now();
  for (int i = 0; i < 50; ++i) {
    clock.Advance(pace.Wait(clock.Now()));
    if (i == 20) clock.Advance(std::chrono::seconds(100));  // silence is not made up for
    pace.Took(250, clock.Now());
    bytes += 250;
    EXPECT_LE(static_cast<double>(bytes), 1000 * Seconds(clock.Now() - begin) + 250);
  }
  EXPECT_NEAR(Seconds(clock.Now() - begin), 100 + 49 * 0.25, 0.3);
}

}  // namespace
}  // namespace evenkeel
