/* Tables of reference splines: what is taken gives values where it says it does, and none elsewhere. */
#include "fuzz.h"

#include "gli_table.h"
#include "reference.h"
#include "str.h"
#include <errno.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  struct reference_table *table;
  char reason[256];
  int err = reference_parse((const char *)data, n, &table, reason);
  if (err < 0) {
    FUZZ_CHECK(err == -EPROTO || (err == -EFBIG && n > REFERENCE_TEXT_MAX));
    FUZZ_CHECK(*reason && str_is_clean_utf8(reason, strlen(reason)));
    return 0;
  }
  for (int i = 0; i < 2 * REFERENCE_INDICES; i++)
    for (double age = REFERENCE_AGE_MIN; age <= REFERENCE_AGE_MAX; age += 0.1) {
      struct reference_values v;
      int r = reference_compute(table, (enum reference_index)(i / 2), "MF"[i % 2], age, 170, 0.7, &v);
      FUZZ_CHECK(r == -ERANGE || (r == 0 && v.lln.mantissa <= v.predicted.mantissa && v.predicted.mantissa > 0));
      if (r == 0 && v.z.mantissa < -16450)
        FUZZ_CHECK(v.lln.mantissa >= 7000);
      else if (r == 0)
        FUZZ_CHECK(v.lln.mantissa <= 7001);
    }
  reference_destroy(table);
  return 0;
}

bool fuzz_seed(const uint8_t *file, size_t n, unsigned i, struct buf *ret) {
  (void)n;
  if (file || i > 1)
    return false;
  if (i == 0)
    gli_table(ret);
  else
    buf_text(ret, GLI_HEADER "M,FEV1,3,-0.1,0.2,0\r\nM,FEV1,3.25,-0.11,1.8e-01,0.0\r\nF,FVC,3,1e-40,-0,0");
  return true;
}
