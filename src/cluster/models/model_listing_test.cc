// Listings and the files that they are made of.
#include "cluster/models/model_listing.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "cluster/models/model_files.h"
#include "cluster/models/models_test_kit.h"
#include "cluster/models/sha256.h"

namespace evenkeel {
namespace {

using testing::HasSubstr;

class ModelListingTest : public testing::Test {
 protected:
  ModelListing List(const std::string& model) {
    const auto listing = files_.List(model);
    EXPECT_TRUE(listing.ok()) << listing.status().message();
    return listing.ok() ? *listing : ModelListing();
  }
  std::string Refusal(const std::string& model) {
    const auto listing = files_.List(model);
    EXPECT_FALSE(listing.ok());
    return listing.status().message();
  }

  ScratchFolder folder_;
  ModelFiles files_{folder_.path()};
};

TEST_F(ModelListingTest, AFileThatStandsAloneIsItsBytes) {
  folder_.Write("digits.onnx", "weights");
  const ModelListing listing = List("digits");
  EXPECT_FALSE(listing.folder);
  ASSERT_EQ(listing.files.size(), 1U);
  EXPECT_EQ(listing.files[0].path, "digits.onnx");
  EXPECT_EQ(listing.bytes, 7U);
  EXPECT_EQ(listing.digest, DigestOfBytes("weights"));
  EXPECT_TRUE(CheckListing(listing, "digits").ok());
}

TEST_F(ModelListingTest, AFolderIsTheLinesOfItsFilesWithoutHiddenOnes) {
  folder_.Write("bert/model.onnx", "weights");
  folder_.Write("bert/1/more.bin", "");
  folder_.Write("bert/.git/config", "no part of it");
  const ModelListing listing = List("bert");
  ASSERT_EQ(listing.files.size(), 2U);
  EXPECT_EQ(listing.files[0].path, "1/more.bin");
  // As sha256sum writes it, and as `evenkeel pull` digests a folder.
  EXPECT_EQ(listing.digest, DigestOfBytes(DigestOfBytes("") + "  1/more.bin\n" +
                                          DigestOfBytes("weights") + "  model.onnx\n"));
}

TEST_F(ModelListingTest, FoldersWithoutFilesAreOfTheModelToo) {
  folder_.Write("graph/config.pbtxt", "graph");
  folder_.Write("graph/1/.keep", "");
  folder_.MakeFolder("graph/2/deep");
  folder_.MakeFolder("graph/.hidden");
  const ModelListing listing = List("graph");
  EXPECT_EQ(listing.files.size(), 1U);
  EXPECT_THAT(listing.empty_folders, testing::ElementsAre("1", "2", "2/deep"));
  EXPECT_TRUE(CheckListing(listing, "graph").ok());
}

TEST_F(ModelListingTest, TwoFilesThatStandAloneAreAFolderOfBoth) {
  folder_.Write("net.xml", "structure");
  folder_.Write("net.bin", "weights");
  const ModelListing alone = List("net");
  EXPECT_TRUE(alone.folder);
  ScratchFolder other;
  other.Write("net/net.xml", "structure");
  other.Write("net/net.bin", "weights");
  EXPECT_EQ(ModelFiles(other.path()).List("net")->digest, alone.digest);
}

TEST_F(ModelListingTest, AChangedFileIsReadAnew) {
  folder_.Write("digits.onnx", "weights");
  const std::string before = List("digits").digest;
  EXPECT_EQ(List("digits").digest, before);
  folder_.Write("digits.onnx", "weighty");
  EXPECT_EQ(List("digits").digest, DigestOfBytes("weighty"));
}

TEST_F(ModelListingTest, LinksStayInsideOrTheModelIsRefused) {
  namespace fs = std::filesystem;
  folder_.Write("bert/model.onnx", "weights");
  fs::create_symlink("model.onnx", folder_.path() + "/bert/again.onnx");
  EXPECT_EQ(List("bert").files[0].sha256, DigestOfBytes("weights"));
  ScratchFolder outside;
  outside.Write("secret", "key");
  fs::create_symlink(outside.path() + "/secret", folder_.path() + "/bert/out.onnx");
  EXPECT_THAT(Refusal("bert"), HasSubstr("out.onnx"));
  fs::create_symlink(outside.path(), folder_.path() + "/all");
  EXPECT_THAT(Refusal("all"), HasSubstr("outside"));
  ASSERT_EQ(::mkfifo((folder_.path() + "/pipe.onnx").c_str(), 0600), 0);
  EXPECT_THAT(Refusal("pipe"), HasSubstr("regular"));
}

TEST_F(ModelListingTest, NamesLeadNowhereElse) {
  for (const char* name : {"", "..", "../x", "a/b", ".hidden", "nothere"}) {
    EXPECT_EQ(files_.List(name).status().code(), Code::kNotFound) << name;
  }
  folder_.Write("two/model.onnx", "a");
  folder_.Write("two.onnx", "b");
  EXPECT_THAT(Refusal("two"), HasSubstr("both a model"));
}

TEST_F(ModelListingTest, APieceIsOfTheContentThatWasListed) {
  folder_.Write("digits.onnx", "0123456789");
  const std::string digest = List("digits").digest;
  const auto read = [&](uint64_t offset, uint64_t length, const std::string& path = "digits.onnx") {
    return files_.Read({"digits", digest, path, offset, length});
  };
  EXPECT_EQ(*read(2, 3), "234");
  EXPECT_EQ(*read(8, 100), "89");
  EXPECT_EQ(*read(10, 1), "");
  EXPECT_EQ(read(11, 1).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(read(0, 0).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(read(0, kMostPieceBytes + 1).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(read(0, 1, "../digits.onnx").status().code(), Code::kNotFound);
  EXPECT_EQ(files_.Read({"digits", std::string(64, 'a'), "digits.onnx", 0, 1}).status().code(),
            Code::kConflict);
  folder_.Write("digits.onnx", "01234567xx");
  EXPECT_EQ(read(0, 1).status().code(), Code::kConflict);
  // A node that never listed it answers all the same.
  ModelFiles again(folder_.path());
  EXPECT_EQ(*again.Read({"digits", DigestOfBytes("01234567xx"), "digits.onnx", 8, 2}), "xx");
}

TEST_F(ModelListingTest, RemovalLeavesNothing) {
  folder_.Write("bert/1/model.onnx", "a");
  folder_.Write("net.xml", "structure");
  folder_.Write("net.bin", "weights");
  EXPECT_TRUE(files_.Remove("bert").ok());
  EXPECT_TRUE(files_.Remove("net").ok());
  EXPECT_TRUE(std::filesystem::is_empty(folder_.path()));
  EXPECT_EQ(files_.Remove("bert").code(), Code::kNotFound);
}

ModelListing Listing(std::vector<ListedFile> files) {
  ModelListing listing{"m", true, std::move(files), {}, 0, ""};
  for (ListedFile& file : listing.files) {
    if (file.sha256.empty()) file.sha256 = DigestOfBytes(file.path);
    listing.bytes += file.bytes;
  }
  listing.digest = ContentDigest(listing);
  return listing;
}

TEST(CheckListingTest, WhatAnotherNodeTellsIsHeldAgainstItself) {
  EXPECT_TRUE(CheckListing(Listing({{"a", 1, ""}, {"b/c", 2, ""}}), "m").ok());
  EXPECT_FALSE(CheckListing(Listing({{"a", 1, ""}}), "other").ok());
  ModelListing lie = Listing({{"a", 1, ""}});
  lie.bytes = 2;
  EXPECT_THAT(CheckListing(lie, "m").message(), HasSubstr("2 bytes"));
  lie = Listing({{"a", 1, ""}});
  lie.digest = std::string(64, '0');
  EXPECT_THAT(CheckListing(lie, "m").message(), HasSubstr("its files are"));
  for (const auto& files :
       std::vector<std::vector<ListedFile>>{{},
                                            {{"a", 1, ""}, {"a", 1, ""}},
                                            {{"b", 1, ""}, {"a", 1, ""}},
                                            {{"a", 1, ""}, {"a/b", 1, ""}},
                                            {{"a", 1, ""}, {"a.b", 1, ""}, {"a/b", 1, ""}},
                                            {{"a", 1, "XY"}},
                                            {{"a", kMostModelBytes, ""}, {"b", 1, ""}},
                                            {{"a", ~uint64_t{0}, ""}, {"b", 2, ""}}}) {
    EXPECT_FALSE(CheckListing(Listing(files), "m").ok()) << files.size();
  }
  ModelListing folders = Listing({{"a", 1, ""}});
  folders.empty_folders = {"1", "2/x"};
  EXPECT_TRUE(CheckListing(folders, "m").ok());
  for (const char* folder : {"../x", "a", "a/b", "/x", ".git"}) {
    folders.empty_folders = {folder};
    EXPECT_FALSE(CheckListing(folders, "m").ok()) << folder;
  }
  ModelListing many = Listing(std::vector<ListedFile>(kMostModelFiles + 1, ListedFile{"a", 1, ""}));
  EXPECT_EQ(CheckListing(many, "m").code(), Code::kTooLarge);
}

TEST(CheckListedPathTest, NothingLeadsOut) {
  for (const char* path : {"a", "a/b.bin", "1/model.onnx", "über.txt", "a b"}) {
    EXPECT_TRUE(CheckListedPath(path).ok()) << path;
  }
  for (const std::string& path :
       {std::string(""), std::string("/a"), std::string(".."), std::string("a/../b"),
        std::string("a//b"), std::string("a/"), std::string("./a"), std::string(".git/x"),
        std::string("a\\b"), std::string("a\nb"), std::string("a\0b", 3), std::string("\xff"),
        std::string(600, 'a'), std::string(300, 'a') + "/b"}) {
    EXPECT_FALSE(CheckListedPath(path).ok()) << path;
  }
}

}  // namespace
}  // namespace evenkeel
