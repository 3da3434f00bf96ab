/* The bodies that clients send: what is accepted has one canonical text, which reads back as itself. */
#include "fuzz.h"

#include "json.h"
#include <errno.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  json_t *value, *again;
  char reason[256];
  int err = json_read((const char *)data, n, &value, reason);
  if (err < 0) {
    FUZZ_CHECK(err == -EPROTO);
    return 0;
  }
  size_t len, len_again;
  char *text = json_canonical(value, &len);
  FUZZ_CHECK(text && strlen(text) == len);
  FUZZ_CHECK(json_read(text, len, &again, reason) == 0 && json_equal(value, again));
  char *text_again = json_canonical(again, &len_again);
  FUZZ_CHECK(text_again && len == len_again && !memcmp(text, text_again, len));
  free(text_again);
  free(text);
  json_decref(again);
  json_decref(value);
  return 0;
}

bool fuzz_seed(const uint8_t *file, size_t n, unsigned i, struct buf *ret) {
  static const char *const built_in[] = {
      "{\"family\":\"L\xc5\x93uf\",\"given\":\"Zo\xc3\xa9\",\"birth_date\":\"1950-02-28\",\"sex\":\"F\"}",
      "{\"token\":\"00ff\",\"conclusion\":\"normal\",\"text\":\"ligne 1\\nligne 2\\t\\u20ac\"}",
      "{\"device\":\"ecg1\",\"seconds\":10,\"x\":[[[{\"y\":null}]],true,false,-9223372036854775808]}",
      "{}",
  };
  (void)n;
  return !file && i < sizeof built_in / sizeof *built_in && buf_text(ret, built_in[i]) == 0;
}
