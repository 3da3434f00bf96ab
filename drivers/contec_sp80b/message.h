/* The wire of the Contec SP80B: messages, the record of a blow and the points of its curve. Pure,
 * incremental, without a clock; acquire, decode and the tests all come through here.
 *
 *   message   first byte with its high bit set, payload bytes without, checksum = sum of all before it & 7F
 *   number    14 bits, low 7 first
 *
 *   host to instrument                          instrument to host, bytes in all
 *     80          start                           F0    2   started
 *     83 YY MM DD hh mm ss ms(2)   set the clock  F3    3   set
 *     82          version                         F2    8   version
 *     94          predicted values                E4   23   predicted values: FVC at 2, FEV1 at 4, in 1/100 L
 *     90          how many records                E0   10   their number at 1
 *     91 00 01    the first record                E1   44   a record, below
 *     91 01 01    the next one
 *     92 00       the curve of that record        E2   5 + 8 a point, and a checksum or none
 *     91 7E 01    the end; records are kept       E3    3
 *
 *   record (E1)  2 kind, 3 number, 5 YY MM DD hh mm ss, 11 sex (0 male), 12 age, 13 height cm, 15 standard, 16 drug;
 *                numbers in 1/100 (L, L/s): 17 FVC, 19 FEV0.5, 21 FEV1, 25 FEV3, 27 FEV6, 29 PEF, 31 FEF25, 33 FEF50,
 *                35 FEF75, 37 FEF25-75; 23 FEV1/FVC in 1/10 %; 39 time to PEF, 41 extrapolated volume, units unknown
 *   curve (E2)   1 record, 3 points; a point is 8 bytes, of which the first holds the high bits of the other seven (bit
 *                0 the next byte's): time u24 in 1/10000 s, flow 16 bits in mL/s, volume 16 bits in mL, low byte first
 *
 * Source: README.md beside this file. */
#ifndef CONTEC_SP80B_MESSAGE_H
#define CONTEC_SP80B_MESSAGE_H

#include <asalee/bytes.h>

enum {
  SP80B_START = 0x80,
  SP80B_VERSION = 0x82,
  SP80B_SET_TIME = 0x83,
  SP80B_COUNT = 0x90,
  SP80B_RECORD = 0x91,
  SP80B_CURVE = 0x92,
  SP80B_PREDICTED = 0x94,

  SP80B_COUNT_IS = 0xe0,
  SP80B_RECORD_IS = 0xe1,
  SP80B_CURVE_IS = 0xe2,
  SP80B_ENDED = 0xe3,
  SP80B_PREDICTED_ARE = 0xe4,
  SP80B_STARTED = 0xf0,
  SP80B_VERSION_IS = 0xf2,
  SP80B_TIME_SET = 0xf3,
};

#define SP80B_REQUEST_MAX 12
#define SP80B_RECORD_BYTES 44
#define SP80B_PREDICTED_BYTES 23
#define SP80B_POINTS_MAX 6000 /* a minute at 100 a second */
#define SP80B_POINT_BYTES 8
#define SP80B_MESSAGE_MAX (5 + SP80B_POINT_BYTES * SP80B_POINTS_MAX)

enum sp80b_status { SP80B_MORE, SP80B_MESSAGE, SP80B_DAMAGED };

struct sp80b_reader {
  enum { SP80B_LOST, SP80B_BETWEEN, SP80B_INSIDE, SP80B_TRAILING } state;
  const char *damage; /* English reason of the last SP80B_DAMAGED */
  bool checked;       /* the last SP80B_MESSAGE had a checksum; all but a curve have */
  size_t n;
  uint8_t bytes[SP80B_MESSAGE_MAX]; /* [0, n): the last SP80B_MESSAGE, without a curve's checksum */
};

/* A new reader skips what comes before the first message without calling it damage. */
void sp80b_reader_init(struct sp80b_reader *r);

/* Takes bytes from `in` until there is something to report or they are used up. A message is reported when it is whole
 * and its checksum right; a curve when its checksum is right or another message begins instead of one. What is not a
 * message is reported as damage once. */
enum sp80b_status sp80b_read(struct sp80b_reader *r, struct acq_cur *in);

/* Nothing more will come for now: a curve without a checksum is a message then, what is left of another is damage. */
enum sp80b_status sp80b_settle(struct sp80b_reader *r);

/* Writes the n bytes of a request and their checksum; returns n + 1. */
size_t sp80b_encode(const uint8_t *request, size_t n, uint8_t wire[static SP80B_REQUEST_MAX]);

static inline uint16_t sp80b_number(const uint8_t *p) {
  return (uint16_t)((p[0] & 0x7f) | (p[1] & 0x7f) << 7);
}

/* What a record is of. */
enum sp80b_kind { SP80B_ALL, SP80B_FVC, SP80B_VC, SP80B_MVV, SP80B_MV };

struct sp80b_record {
  uint8_t kind, sex, age, standard;
  bool drug, dated;
  uint16_t number, height;
  int64_t clock_us; /* of the instrument's clock, when it is dated */
  uint16_t fvc, fev05, fev1, ratio, fev3, fev6, pef, fef25, fef50, fef75, fef25_75, pef_time, evol;
};

void sp80b_record_read(const uint8_t bytes[static SP80B_RECORD_BYTES], struct sp80b_record *ret);

struct sp80b_point {
  uint32_t time;
  int16_t flow, volume;
};

struct sp80b_point sp80b_point_read(const uint8_t bytes[static SP80B_POINT_BYTES]);

#endif
