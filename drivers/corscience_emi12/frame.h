/* The wire of the Corscience EMI12: frames, and the layout of the ECG data frame inside them. Pure, incremental,
 * without a clock; acquire, decode and the tests all come through here.
 *
 *   frame  FC body FD; inside the body FC, FD and FE travel as FE DC, FE DD and FE DE
 *   body   packet number u8, command u16 LE, data, CRC u16 LE
 *   CRC    CRC-16/CCITT-FALSE over packet number .. data, before stuffing
 *
 *   data of an ECG frame (command 0724)
 *     block counter u16 LE; it rises when the packet number wraps, so both make one 24-bit number
 *     00, 0x60 | contact bits 9..7, contact bits 6..0      bits 0..9: C1 C2 C3 C4 C5 C6 N F R L
 *     sets of eight samples in the order II III V1 V2 V3 V4 V5 V6, each
 *       b0 with its lowest bit set: (b0 >> 1) << 8 | b1 is a 15-bit two's complement number
 *       b0 with its lowest bit clear: b0 >> 1 is a 7-bit one
 *     00, data set counter in three bytes of 7 bits, low first: sets since the start, this frame's included
 *
 * Source: README.md beside this file. No public text bounds a frame; the bound below is about eight times what the
 * instrument sends at 500 Hz.
 */
#ifndef CORSCIENCE_EMI12_FRAME_H
#define CORSCIENCE_EMI12_FRAME_H

#include <asalee/bytes.h>

#define EMI12_BODY_MAX 1024 /* unstuffed, CRC included */
#define EMI12_BODY_MIN 5    /* packet number, command, CRC */
#define EMI12_DATA_MAX (EMI12_BODY_MAX - EMI12_BODY_MIN)
#define EMI12_WIRE_MAX (2 * EMI12_BODY_MAX + 2)

enum {
  /* host to module; GET is followed by the number of the wanted reply, u16 LE */
  EMI12_GET = 0x0800,
  EMI12_CONFIGURE = 0x0901, /* leads (1 three, 2 twelve), rate in units of 100 Hz */
  EMI12_STREAM = 0x0905,    /* 1 start, 0 stop */
  EMI12_THRESHOLD = 0x0918, /* u24 LE */
  EMI12_CONTACT = 0x0926,   /* 1 start, 0 stop */
  /* module to host */
  EMI12_VERSION = 0x0100,
  EMI12_FIRMWARE = 0x0150,
  EMI12_ACK = 0x0200, /* packet number of the request */
  EMI12_IDENTIFICATION = 0x0500,
  EMI12_SELF_TEST = 0x0600,
  EMI12_CONFIGURED = 0x0701,
  EMI12_THRESHOLD_SET = 0x0718,
  EMI12_ECG = 0x0724,
  EMI12_CONTACTS = 0x0726,
};

struct emi12_frame {
  uint8_t packet;
  uint16_t command, crc;
  struct acq_cur data; /* into the reader, until its next call */
};

enum emi12_status { EMI12_MORE, EMI12_FRAME, EMI12_DAMAGED };

struct emi12_reader {
  enum { EMI12_LOST, EMI12_BETWEEN, EMI12_INSIDE, EMI12_ESCAPED } state;
  size_t n;
  const char *damage; /* English reason of the last EMI12_DAMAGED */
  uint8_t body[EMI12_BODY_MAX];
};

/* A new reader skips what comes before the first FC without calling it damage: it may have been opened amid a frame.*/
void emi12_reader_init(struct emi12_reader *r);

/* Takes bytes from `in` until a frame is whole (*ret is set), a damaged one is known, or they are used up. One
 * damaged frame is reported once; reading goes on at the next FC. */
enum emi12_status emi12_read(struct emi12_reader *r, struct acq_cur *in, struct emi12_frame *ret);

/* Writes a frame and returns its length; -EMSGSIZE when n > EMI12_DATA_MAX or the frame does not fit into max. */
int emi12_encode(uint8_t packet, uint16_t command, const void *data, size_t n, uint8_t *wire, size_t max);

/* ---- the ECG frame ---------------------------------------------------------------------------------------- */

#define EMI12_MEASURED 8
#define EMI12_SETS_MAX ((EMI12_DATA_MAX - 9) / EMI12_MEASURED)
#define EMI12_COUNTER_MASK 0x1fffffu
#define EMI12_SAMPLE_MIN (-16384)
#define EMI12_SAMPLE_MAX 16383

enum { EMI12_II, EMI12_III, EMI12_V1, EMI12_V2, EMI12_V3, EMI12_V4, EMI12_V5, EMI12_V6 };

struct emi12_ecg {
  uint32_t number;   /* block counter and packet number, 24 bits */
  uint32_t counter;  /* 21 bits */
  uint16_t contacts; /* wire order, 10 bits */
  unsigned sets;
  int16_t values[EMI12_SETS_MAX][EMI12_MEASURED];
};

/* Reads the data of an ECG frame; -EPROTO when it has not that layout. *ret is undefined on failure. */
int emi12_ecg_read(const struct emi12_frame *frame, struct emi12_ecg *ret);

/* The ten contact bits of the wire, both in the ECG frame and in the contact report, from the two bytes that hold
 * them. */
static inline uint16_t emi12_contact_bits(uint8_t high, uint8_t low) {
  return (uint16_t)((high & 0x07) << 7 | (low & 0x7f));
}

#endif
