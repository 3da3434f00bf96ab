#!/bin/bash
# make new-driver NAME=vendor_model: a driver's folder, its line in table.c and its first capture, all of which pass.
# What it speaks is a toy ("?" answers who, "M" answers one measure): replace it by the instrument's own conversation.
set -eu
name=$1 build=$2
cd "$(dirname "$0")/.."
if ! [[ $name =~ ^[a-z][a-z0-9]*(_[a-z0-9]+)+$ ]]; then
  echo 'NAME is wanted as vendor_model: small letters and digits, for instance make new-driver NAME=acme_spiro3' >&2
  exit 2
fi
if [ -e "drivers/$name" ]; then echo "drivers/$name is there already" >&2; exit 2; fi
mkdir -p "drivers/$name" "tests/captures/$name"
cat >"drivers/$name/driver.c" <<C
/* $name: say here which instrument, on which wire; README.md says what is known of it and how well. */
#include <asalee/driver.h>
#include <string.h>

#define ANSWER_MS 1000u

/* One line, without its CR, as a text; the number of characters or an error. */
static int ask(struct acq_io *io, const char *request, char *line, size_t size) {
  int r = acq_write(io, request, strlen(request), ANSWER_MS);
  if (r == 0)
    r = acq_read_until(io, '\\r', line, size - 1, ANSWER_MS);
  if (r < 0)
    return acq_fail(io, r, "no answer to %c", request[0]);
  line[r - 1] = 0;
  return r - 1;
}

static int identify(struct acq_io *io, struct acq_identity *ret) {
  char line[32];
  int r = ask(io, "?\\r", line, sizeof line);
  if (r < 0)
    return r;
  if (strncmp(line, "TOY ", 4))
    return acq_fail(io, -ENXIO, "something else answers");
  memcpy(ret->make, "Toy", sizeof "Toy");
  memcpy(ret->serial, line + 4, (size_t)r - 3);
  return 0;
}

static int acquire(struct acq_io *io, const struct acq_order *order) {
  char line[32];
  (void)order;
  int r = ask(io, "M\\r", line, sizeof line);
  return r < 0 ? r : 0;
}

static int release(struct acq_io *io) {
  (void)io; /* nothing was started that goes on by itself */
  return 0;
}

/* The last line that begins with V is the reading. */
static int decode(const struct acq_capture *capture, struct acq_record *ret) {
  struct acq_cur c = acq_capture_received(capture);
  char line[32], value[32] = "";
  size_t n = 0;
  while (acq_left(&c)) {
    char byte = (char)acq_u8(&c);
    if (byte != '\\r') {
      if (n == sizeof line - 1)
        return acq_rec_fail(ret, -EPROTO, "a line without an end");
      line[n++] = byte;
      continue;
    }
    line[n] = 0;
    if (line[0] == 'V')
      memcpy(value, line + 1, n);
    n = 0;
  }
  struct dec litres;
  if (!value[0])
    return acq_rec_fail(ret, -ENODATA, "no reading");
  if (dec_parse(value, &litres) < 0)
    return acq_rec_fail(ret, -EPROTO, "the reading is not a number");
  acq_rec_measure(ret, "fvc", litres, NULL);
  return acq_rec_done(ret);
}

static const struct acq_match match[] = {
    {.bus = ACQ_SERIAL, .baud = 9600, .parity = ACQ_PARITY_NONE},
    {.bus = 0},
};

const struct acq_driver $name = {
    .abi = ACQ_DRIVER_ABI,
    .name = "$name",
    .version = "1",
    .label = "$name",
    .modalities = ACQ_MODALITY(ACQ_SPIROMETRY),
    .maturity = ACQ_SIMULATED,
    .integrity = ACQ_NONE,
    .match = match,
    .limits = {.max_bytes = 4096, .max_seconds = 60, .default_seconds = 30, .idle_ms = 1000, .grace_ms = 5000},
    .identify = identify,
    .acquire = acquire,
    .release = release,
    .decode = decode,
};
C
cat >"drivers/$name/README.md" <<M
# $name

- **Instrument**:
- **Wire**:
- **Source of the protocol**, and what of it is inferred:
- **Maturity**: simulated. Never tried on the instrument.
- **Integrity**: the weakest check a byte goes through.
- **On faults**: what the driver does on silence, damage, unplugging.
M
{
  printf 'asaleed-capture 1\ndriver %s 1\nbus serial\norder 30\nstart 2026-01-05T09:30:00.000000+01:00\n' "$name"
  printf '> 0 3f0d\n< 5 544f5920373431\n< 6 0d\n! 6 identity\n! 6 make Toy\n! 6 model \n! 6 serial 741\n! 6 firmware \n'
  printf '! 7 acquire\n> 7 4d0d\n< 12 56332e36330d\n! 12 release\nend ok\n'
} >"tests/captures/$name/normal.capture"
# Its declaration and its place in the table.
sed -i "0,/^extern const struct acq_driver /s//extern const struct acq_driver $name;\n&/; s/^  *NULL,\$/    \&$name,\n&/" drivers/table.c
clang-format -i "drivers/$name/driver.c" drivers/table.c 2>/dev/null || true
make --no-print-directory "$build/asaleed-driver" "$build/tests/replay" >/dev/null
"$build/asaleed-driver" decode "$name" "tests/captures/$name/normal.capture" >"tests/captures/$name/normal.json"
"$build/tests/replay" "tests/captures/$name/normal.capture"
echo "drivers/$name: driver.c, README.md; tests/captures/$name: normal.capture and its golden record. Next: HACKING.md, \"A new driver\"."
