/* Configuration files: whatever stands in them, reading ends with a word of what is wrong or with values in range. */
#include "fuzz.h"

#include "conf.h"
#include "str.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void check_act(enum acq_modality m, const struct conf_act *a) {
  FUZZ_CHECK(a->line && a->delay_hours >= 1 && a->delay_hours <= 24 * 365 && a->recall_months <= 120);
  FUZZ_CHECK(str_is_clean_utf8(a->authorisation, strlen(a->authorisation)));
  FUZZ_CHECK(a->views.n <= CONF_VIEWS_MAX && (a->views.n != 0) == (m == ACQ_FUNDUS));
  FUZZ_CHECK(m != ACQ_FUNDUS || a->authorisation[0]);
  FUZZ_CHECK(m == ACQ_FUNDUS || a->reader == CONF_READER_GP);
  for (unsigned i = 0; i < a->views.n; i++)
    FUZZ_CHECK(conf_is_laterality(a->views.list[i].laterality) && conf_is_field(a->views.list[i].field));
}

static void check_protocol(const struct conf *c, const struct conf_protocol *p) {
  unsigned acts = 0;
  FUZZ_CHECK(p->id[0] && p->label[0] && str_is_clean_utf8(p->label, strlen(p->label)));
  FUZZ_CHECK(conf_protocol(c, p->id) == p); /* the only one of that name */
  for (enum acq_modality m = ACQ_ECG; m <= ACQ_MEASUREMENT; m++) {
    const struct conf_act *a = conf_act(p, m);
    acts += p->acts[m].line != 0;
    if (a)
      check_act(m, a);
    else
      FUZZ_CHECK(!p->acts[m].prescribe && !p->acts[m].perform);
  }
  FUZZ_CHECK(acts);
}

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
  FUZZ_CHECK(c.n_protocols <= CONF_PROTOCOLS_MAX);
  FUZZ_CHECK(!c.listen[0] || conf_is_loopback(c.listen));
  for (unsigned i = 0; r == 0 && i < c.n_devices; i++) {
    const struct conf_device *d = &c.devices[i];
    FUZZ_CHECK(d->id[0] && d->driver[0] && (d->usb_serial[0] || d->port[0] || d->node[0] || d->folder[0]));
    FUZZ_CHECK(str_is_clean_utf8(d->label, strlen(d->label)));
  }
  for (unsigned i = 0; r == 0 && i < c.n_protocols; i++)
    check_protocol(&c, c.protocols[i]);
  conf_finish(&c);
  FUZZ_CHECK(!c.n_protocols);
  return 0;
}

bool fuzz_seed(const uint8_t *file, size_t n, unsigned i, struct buf *ret) {
  static const char *const built_in[] = {
      "# asaleed\n[daemon]\nstore = /var/lib/asaleed\nlisten = 127.0.0.1:8430\nlog-level = debug\n[queue]\n"
      "claim-minutes = 45\nremind-hours = 24\n[retention]\nactive-months = 60\n",
      "[device ecg-1]\ndriver = corscience_emi12\nlabel = ECG \xc3\xa9tage\nusb-serial = A1\n[device ecg-2]\n"
      "driver = corscience_emi12\nport = 1-1.2\n; end\n",
      "[protocol d-2]\nlabel = Diab\xc3\xa8te\nauthorisation = A\n[act ecg]\nprescribe = yes\nperform = yes\n"
      "delay-hours = 24\nrecall-months = 12\nnurse-sees-before = quality\nnurse-sees-after = report\n[act fundus]\n"
      "reader = ophthalmologist\nauthorisation = B\ndelay-hours = 72\nviews = R:macula L:disc\n"
      "[act measurement]\nopen = no\n[protocol e]\nlabel = E\n[act spirometry]\ndelay-hours = 1\n",
      "[act ecg]\n[protocol P]\n[act ecg]\n[act ecg]\nopen = no\nperform = yes\n[protocol p]\n[act fundus]\n[act x]\n",
      "[device x]\n[nowhere]\nkey\n= \n[daemon\nlisten = 10.0.0.1:80\n",
  };
  (void)n;
  return !file && i < sizeof built_in / sizeof *built_in && buf_text(ret, built_in[i]) == 0;
}
