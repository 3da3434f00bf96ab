#include "drivers.h"

#include "capture.h"
#include "str.h"
#include <stdio.h>
#include <string.h>

#define SECONDS_MAX 86400u /* what a capture's header holds */
#define MS_MAX 600000u

/* A word that can stand in a capture's header and be a folder. */
static bool is_word(const char *text) {
  size_t n = text ? strlen(text) : 0;
  return n && n < ACQ_TEXT_MAX && strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_.-") == n;
}

static const char *check_match(const struct acq_match *table) {
  size_t n = 0;
  for (const struct acq_match *m = table; m->bus; m++) {
    if (++n > MATCHES_MAX)
      return "its match table has no end";
    switch (m->bus) {
    case ACQ_SERIAL:
      if (!m->baud || m->baud > 4000000)
        return "a serial match has no sane speed";
      if ((unsigned)m->parity > ACQ_PARITY_ODD)
        return "a serial match has no such parity";
      if (m->generic && !m->vendor)
        return "a serial match calls a bridge generic that it does not name";
      break;
    case ACQ_USB:
      if (!m->vendor && !m->usb_class)
        return "a USB match names every device";
      if (m->generic)
        return "a USB match cannot be a bridge's";
      break;
    case ACQ_FILE:
      if (!m->pattern || !*m->pattern)
        return "a file match has no pattern";
      break;
    default:
      return "a match has no such bus";
    }
    if (m->product && !m->vendor)
      return "a match has a product without a vendor";
  }
  return n ? NULL : "its match table is empty";
}

static const char *check_row(const struct acq_driver *d) {
  const struct acq_limits *l = &d->limits;
  if (d->abi != ACQ_DRIVER_ABI)
    return "it was built for another ABI";
  if (!is_word(d->version))
    return "its version is not a word";
  if (!d->label || !*d->label || strlen(d->label) >= ACQ_TEXT_MAX || !str_is_clean_utf8(d->label, strlen(d->label)))
    return "its label is not a short clean text";
  if (!d->modalities || d->modalities & ~(ACQ_MODALITY(ACQ_MEASUREMENT + 1) - ACQ_MODALITY(ACQ_ECG)))
    return "no such modality";
  if (d->maturity < ACQ_SIMULATED || d->maturity > ACQ_VERIFIED)
    return "no such maturity";
  if (d->integrity < ACQ_NONE || d->integrity > ACQ_CRC32)
    return "no such integrity";
  const bool whole = drivers_takes_whole_file(d);
  if (!d->decode || (!whole && (!d->identify || !d->acquire || !d->release)))
    return "a function is missing";
  const uint32_t blobs = whole                                      ? ACQ_BLOB_MAX - 1 - CAPTURE_TEXT_MAX / 2
                         : d->modalities & ACQ_MODALITY(ACQ_FUNDUS) ? ACQ_BLOBS_BYTES_MAX /* beside the text */
                                                                    : 0;
  if (!l->max_bytes || l->max_bytes > CAPTURE_TEXT_MAX / 2 + blobs)
    return "max_bytes does not fit into a capture";
  if (!l->max_seconds || l->max_seconds > SECONDS_MAX || !l->default_seconds || l->default_seconds > l->max_seconds)
    return "its seconds are not 1 <= default <= max <= 86400";
  if (!l->idle_ms || l->idle_ms > MS_MAX || !l->grace_ms || l->grace_ms > MS_MAX)
    return "idle_ms or grace_ms is not within 1..600000";
  return d->match ? check_match(d->match) : "it has no match table";
}

int drivers_check(const struct acq_driver *const *table, char why[static DRIVERS_WHY_MAX]) {
  for (size_t i = 0; table[i]; i++) {
    if (i == DRIVERS_MAX) {
      snprintf(why, DRIVERS_WHY_MAX, "the table of drivers has no end");
      return -EINVAL;
    }
    const char *name = table[i]->name, *wrong = is_word(name) ? check_row(table[i]) : "its name is not a word";
    for (size_t j = 0; j < i && !wrong; j++)
      if (!strcmp(table[j]->name, name))
        wrong = "two drivers have this name";
    if (wrong) {
      snprintf(why, DRIVERS_WHY_MAX, "driver %zu (%.64s): %s", i + 1, name ? name : "?", wrong);
      return -EINVAL;
    }
  }
  return 0;
}

bool drivers_takes_whole_file(const struct acq_driver *driver) {
  if (driver->identify || driver->acquire || driver->release)
    return false;
  for (const struct acq_match *m = driver->match; m && m->bus; m++)
    if (m->bus != ACQ_FILE)
      return false;
  return true;
}

const struct acq_driver *drivers_find(const struct acq_driver *const *table, const char *name) {
  for (size_t i = 0; table[i]; i++)
    if (!strcmp(table[i]->name, name))
      return table[i];
  return NULL;
}

bool drivers_has_bus(const struct acq_driver *driver, enum acq_bus bus) {
  for (const struct acq_match *m = driver->match; m->bus; m++)
    if (m->bus == bus)
      return true;
  return false;
}
