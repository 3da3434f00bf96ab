/* Configuration files: whatever stands in them, reading ends with a word of what is wrong or with values in range. */
#include "fuzz.h"

#include "conf.h"
#include "str.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  static struct conf c;
  char path[64];
  int fd = memfd_create("conf", MFD_CLOEXEC);
  FUZZ_CHECK(fd >= 0 && write(fd, data, n) == (ssize_t)n);
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  conf_defaults(&c);
  int quiet = dup(STDERR_FILENO); /* its complaints are not what is looked at */
  FILE *none = freopen("/dev/null", "w", stderr);
  int r = conf_read(&c, path, false);
  fflush(stderr);
  FUZZ_CHECK(none && dup2(quiet, STDERR_FILENO) >= 0);
  close(quiet);
  close(fd);
  FUZZ_CHECK(r == 0 || r == -EINVAL);
  FUZZ_CHECK(c.claim_minutes >= 1 && c.claim_minutes <= 24 * 60 && c.n_devices <= CONF_DEVICES_MAX);
  FUZZ_CHECK(!c.listen[0] || conf_is_loopback(c.listen));
  for (unsigned i = 0; r == 0 && i < c.n_devices; i++) {
    const struct conf_device *d = &c.devices[i];
    FUZZ_CHECK(d->id[0] && d->driver[0] && (d->usb_serial[0] || d->port[0] || d->node[0]));
    FUZZ_CHECK(str_is_clean_utf8(d->label, strlen(d->label)));
  }
  return 0;
}

bool fuzz_seed(const uint8_t *file, size_t n, unsigned i, struct buf *ret) {
  static const char *const built_in[] = {
      "# asaleed\n[daemon]\nstore = /var/lib/asaleed\nlisten = 127.0.0.1:8430\nlog-level = debug\n[queue]\n"
      "claim-minutes = 45\ndue-hours-ecg = 24\n",
      "[device ecg-1]\ndriver = corscience_emi12\nlabel = ECG \xc3\xa9tage\nusb-serial = A1\n[device ecg-2]\n"
      "driver = corscience_emi12\nport = 1-1.2\n; end\n",
      "[device x]\n[nowhere]\nkey\n= \n[daemon\nlisten = 10.0.0.1:80\n",
  };
  (void)n;
  return !file && i < sizeof built_in / sizeof *built_in && buf_text(ret, built_in[i]) == 0;
}
