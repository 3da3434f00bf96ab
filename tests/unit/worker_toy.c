#include "worker_toy.h"

#include "crc.h"
#include "str.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_MAX_BYTES 32

static int identify(struct acq_io *io, struct acq_identity *ret, bool ask) {
  char line[LINE_MAX_BYTES];
  int n = ask ? acq_write(io, "ID?\n", 4, 500) : 0;
  if (n == 0)
    n = acq_read_until(io, '\n', line, sizeof line, 500);
  if (n < 0)
    return n;
  if (n < 6 || memcmp(line, "TOY ", 4))
    return acq_fail(io, -ENXIO, "not a toy");
  memcpy(ret->serial, line + 4, (size_t)n - 5);
  str_copy(ret->make, sizeof ret->make, "Toys");
  return 0;
}

static int frames(struct acq_io *io, uint32_t seconds) {
  uint8_t frame[TOY_FRAME];
  for (uint32_t i = 0; i < seconds; i++) {
    int r = acq_read(io, frame, sizeof frame, 1500);
    if (r < 0)
      return r;
    if (frame[0] != 'F')
      return acq_fail(io, -EPROTO, "no frame");
    if (crc16_ccitt(CRC16_CCITT_FALSE_INIT, frame, TOY_FRAME - 2) != (frame[21] | frame[22] << 8))
      return acq_fail(io, -EBADMSG, "a damaged frame");
    acq_progress(io, i + 1, seconds);
    acq_contacts(io, 1, i % 2);
  }
  return 0;
}

static int toy_identify(struct acq_io *io, struct acq_identity *ret) {
  return identify(io, ret, true);
}

static int toy_acquire(struct acq_io *io, const struct acq_order *order) {
  int r = acq_write(io, "GO\n", 3, 500);
  return r < 0 ? r : frames(io, order->seconds);
}

static int toy_release(struct acq_io *io) {
  char line[LINE_MAX_BYTES];
  int r = acq_write(io, "STOP\n", 5, 500);
  if (r == 0)
    r = acq_read_until(io, '\n', line, sizeof line, 500);
  return r < 0 ? r : 0;
}

static int file_identify(struct acq_io *io, struct acq_identity *ret) {
  return identify(io, ret, false);
}

static int file_acquire(struct acq_io *io, const struct acq_order *order) {
  uint8_t more;
  int r = frames(io, order->seconds);
  if (r < 0)
    return r;
  r = acq_read_some(io, &more, 1, 100);
  return r == -ENODATA ? 0 : r < 0 ? r : acq_fail(io, -EPROTO, "more than ordered");
}

static int file_release(struct acq_io *io) {
  (void)io;
  return 0;
}

static int toy_decode(const struct acq_capture *capture, struct acq_record *ret) {
  struct acq_cur c = acq_capture_received(capture);
  acq_rec_subject(ret, &(struct acq_subject){.family = "TOY"});
  unsigned channel = acq_rec_channel(ret, "lead_ii", (struct dec){10, 0}, (struct dec){5, 0}, false);
  while (acq_left(&c) && acq_u8(&c) != '\n')
    ;
  while (acq_left(&c) >= TOY_FRAME && *c.at == 'F') {
    struct acq_cur frame = acq_sub(&c, TOY_FRAME);
    uint16_t crc = crc16_ccitt(CRC16_CCITT_FALSE_INIT, frame.at, TOY_FRAME - 2);
    int16_t values[TOY_SAMPLES];
    acq_u8(&frame);
    for (unsigned i = 0; i < TOY_SAMPLES; i++)
      values[i] = (int16_t)acq_u16le(&frame);
    if (acq_u16le(&frame) == crc) {
      acq_rec_samples(ret, channel, values, TOY_SAMPLES);
    } else {
      acq_rec_gap(ret, channel, TOY_SAMPLES);
      acq_rec_quality(ret, "frame_damaged", "", 1);
    }
  }
  return acq_rec_done(ret);
}

static int memory_decode(const struct acq_capture *capture, struct acq_record *ret) {
  struct acq_cur c = acq_capture_received(capture);
  const struct acq_order *order = acq_capture_order(capture);
  acq_rec_modality(ret, order->modality);
  while (acq_left(&c) && acq_u8(&c) != '\n')
    ;
  while (acq_left(&c) >= TOY_FRAME && *c.at == 'F') {
    struct acq_cur frame = acq_sub(&c, TOY_FRAME);
    int16_t values[TOY_SAMPLES];
    acq_u8(&frame);
    for (unsigned i = 0; i < TOY_SAMPLES; i++)
      values[i] = (int16_t)acq_u16le(&frame);
    acq_rec_trial(
        ret, &(struct acq_trial){.timed = true, .clock_us = acq_order_clock_us(order, (uint64_t)values[0] * 1000)});
    acq_rec_measure(ret, "fev1", (struct dec){1000 + values[0], 0}, "mL");
    acq_rec_samples(ret, acq_rec_channel(ret, "flow", (struct dec){10, 0}, (struct dec){1, -3}, false), values,
                    TOY_SAMPLES);
  }
  return acq_rec_done(ret);
}

static int camera_acquire(struct acq_io *io, const struct acq_order *order) {
  uint8_t head[4]; /* 'W' or 'D', what it is for; its bytes, little endian; 0 */
  unsigned made = 0;
  int r = 0;
  while (r == 0 && !acq_finishing(io) && (!order->pictures || made < order->pictures)) {
    r = acq_read(io, head, sizeof head, 100);
    if (r == -ENODATA)
      return made ? 0 : r;
    acq_progress(io, 100 * made, 1000);
    if (r == 0)
      r = acq_blob(io, head[1] | (uint32_t)head[2] << 8, 100, 100);
    if (r == 0)
      r = head[0] == 'D' ? acq_blob_drop(io) : acq_blob_end(io);
    made += head[0] == 'W';
  }
  return r;
}

static int camera_decode(const struct acq_capture *capture, struct acq_record *ret) {
  struct acq_event e;
  for (size_t i = 0; acq_capture_event(capture, i, &e); i++) {
    if (e.kind != ACQ_BLOB_WHOLE)
      continue;
    acq_rec_trial(ret, &(struct acq_trial){0});
    acq_rec_picture(ret, i, "IMG_1.PNG");
  }
  return acq_rec_done(ret);
}

static int whole_decode(const struct acq_capture *capture, struct acq_record *ret) {
  static const char start[] = "WHOLE";
  struct acq_cur c;
  int r = acq_capture_file(capture, &c, NULL);
  if (r < 0)
    return acq_rec_fail(ret, r, "no whole file");
  const uint8_t *at = acq_bytes(&c, sizeof start - 1);
  if (!at || memcmp(at, start, sizeof start - 1))
    return acq_rec_fail(ret, -ENXIO, "not a toy's file");
  acq_rec_instrument(ret, &(struct acq_identity){.make = "Toys", .serial = "42"});
  const unsigned channel = acq_rec_channel(ret, "lead_ii", (struct dec){10, 0}, (struct dec){5, 0}, false);
  while (acq_left(&c))
    acq_rec_samples(ret, channel, &(int16_t){acq_u8(&c)}, 1);
  return acq_rec_done(ret);
}

#define TOY_COMMON                                                                          \
  .abi = ACQ_DRIVER_ABI, .version = "1", .maturity = ACQ_SIMULATED, .integrity = ACQ_CRC16, \
  .limits = {.max_bytes = 4096, .max_seconds = 60, .default_seconds = 2, .idle_ms = 1500, .grace_ms = 2000}

const struct acq_driver toy = {
    TOY_COMMON,
    .modalities = ACQ_MODALITY(ACQ_ECG),
    .decode = toy_decode,
    .name = "toy",
    .label = "Jouet",
    .match = (const struct acq_match[]){{.bus = ACQ_SERIAL, .vendor = 0x0403, .generic = true, .baud = 115200},
                                        {.bus = ACQ_USB, .vendor = 0x1209, .product = 1},
                                        {0}},
    .identify = toy_identify,
    .acquire = toy_acquire,
    .release = toy_release,
};

const struct acq_driver toy_file = {
    TOY_COMMON,
    .modalities = ACQ_MODALITY(ACQ_ECG),
    .decode = toy_decode,
    .name = "toy_file",
    .label = "Jouet, fichier",
    .match = (const struct acq_match[]){{.bus = ACQ_FILE, .pattern = "*.toy"}, {0}},
    .identify = file_identify,
    .acquire = file_acquire,
    .release = file_release,
};

const struct acq_driver toy_memory = {
    TOY_COMMON,
    .modalities = ACQ_MODALITY(ACQ_SPIROMETRY) | ACQ_MODALITY(ACQ_MEASUREMENT),
    .decode = memory_decode,
    .name = "toy_memory",
    .label = "Jouet qui se souvient",
    .match = (const struct acq_match[]){{.bus = ACQ_FILE, .pattern = "*.memory"}, {0}},
    .identify = file_identify,
    .acquire = file_acquire,
    .release = file_release,
};

const struct acq_driver toy_camera = {
    TOY_COMMON,
    .modalities = ACQ_MODALITY(ACQ_FUNDUS),
    .decode = camera_decode,
    .name = "toy_camera",
    .label = "Jouet qui photographie",
    .match = (const struct acq_match[]){{.bus = ACQ_FILE, .pattern = "*.camera"}, {0}},
    .identify = file_identify,
    .acquire = camera_acquire,
    .release = file_release,
};

const struct acq_driver toy_whole = {
    TOY_COMMON,
    .modalities = ACQ_MODALITY(ACQ_ECG),
    .decode = whole_decode,
    .name = "toy_whole",
    .label = "Jouet, fichier entier",
    .match = (const struct acq_match[]){{.bus = ACQ_FILE, .pattern = "*.whole"}, {0}},
};

const struct acq_driver *const toy_table[] = {&toy, &toy_file, &toy_memory, &toy_camera, &toy_whole, NULL};

void toy_frame(unsigned second, uint8_t bytes[static TOY_FRAME]) {
  bytes[0] = 'F';
  for (unsigned i = 0; i < TOY_SAMPLES; i++) {
    bytes[1 + 2 * i] = (uint8_t)(100 * second + i);
    bytes[2 + 2 * i] = (uint8_t)((100 * second + i) >> 8);
  }
  uint16_t crc = crc16_ccitt(CRC16_CCITT_FALSE_INIT, bytes, TOY_FRAME - 2);
  bytes[TOY_FRAME - 2] = (uint8_t)crc;
  bytes[TOY_FRAME - 1] = (uint8_t)(crc >> 8);
}

char *toy_capture(unsigned seconds, const char *end) {
  char *text = NULL;
  size_t n;
  FILE *f = open_memstream(&text, &n);
  if (!f)
    return NULL;
  fprintf(f, "asaleed-capture 1\ndriver toy 1\nbus serial\norder %u ecg\nstart 2026-01-02T03:04:05.000000+01:00\n",
          seconds);
  fprintf(f, "> 1 4944%s\n< 3 544f59203432\n< 4 0a\n", "3f0a");
  fprintf(f, "! 4 identity\n! 4 make Toys\n! 4 model \n! 4 serial 42\n! 4 firmware \n! 10 acquire\n> 10 474f0a\n");
  for (unsigned i = 0; i < seconds; i++) {
    uint8_t frame[TOY_FRAME];
    char hex[2 * TOY_FRAME + 1];
    toy_frame(i, frame);
    str_hex(frame, TOY_FRAME, hex);
    fprintf(f, "< %u %.10s\n< %u %s\n", 1000 * (i + 1), hex, 1000 * (i + 1) + 2, hex + 10);
  }
  fprintf(f, "! %u release\n> %u 53544f500a\n< %u 4f4b0a\n", 1000 * seconds + 3, 1000 * seconds + 3,
          1000 * seconds + 5);
  if (end)
    fprintf(f, "%s\n", end);
  fclose(f);
  return text;
}
