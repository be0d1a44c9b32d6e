// Naive Bayes against probabilities worked out by hand.
#include "models/naive_bayes.h"

#include <doctest/doctest.h>

using weft::NaiveBayes;

TEST_CASE("the class with the greater posterior comes first") {
  NaiveBayes bayes(3, 1.0);
  bayes.add(0, "Red apple", "fruit, red", 0);
  bayes.add(0, "green apple", "fruit", 0);
  bayes.add(0, "red car", "vehicle", 1);
  // Known features: words red apple fruit green car vehicle, keywords fruit red vehicle: V = 9. Class 0 has 4 + 1 words and keywords
  // (red apple fruit; fruit red) and (green apple fruit; fruit): 5 + 4 = 9; class 1 has 3 + 1 = 4; class 2 has none.
  // "vehicle": log P(0) = log(2/3) + log(1/18), log P(1) = log(1/3) + log(2/13).
  CHECK(bayes.top(0, "vehicle", "", 3) == std::vector<int>{1, 0, 2});
  CHECK(bayes.top(0, "APPLE", "", 1) == std::vector<int>{0});
  // A keyword counts beside its words; an unknown word counts for nothing.
  CHECK(bayes.top(0, "unheard of", "vehicle", 1) == std::vector<int>{1});
}

TEST_CASE("another language knows none of the words, so the frequency of the classes decides") {
  NaiveBayes bayes(2);
  bayes.add(0, "car", "", 1);
  bayes.add(0, "cars", "", 1);
  bayes.add(0, "tree", "", 0);
  CHECK(bayes.top(5, "tree", "", 2) == std::vector<int>{1, 0});
  CHECK(bayes.top(0, "tree", "", 1) == std::vector<int>{0});
}

TEST_CASE("bytes that are not UTF-8 are features like any other") {
  NaiveBayes bayes(2);
  bayes.add(0, "a\xff\xfe", "\xc3", 0);
  CHECK(bayes.top(0, "\xf0\x9f", "\x80,", 2).size() == 2);
}
