/* The wire of the Vitalograph Lung Monitor: frames, the two layouts of a blow, and the answer to "what time is it".
 * Pure, a byte at a time, without a clock; acquire, decode and the tests all come through here.
 *
 *   frame    02 payload 03 BCC; the payload is printable ASCII, the BCC the XOR of every byte from 02 to 03
 *   between  06 ACK, 15 NAK; any other byte is damage
 *
 *   blow     "FTD", device id 10 characters, numbers of 3 digits, YYMMDDhhmmss, "0" good or another digit bad,
 *            software version 3 digits. The numbers:
 *     56 characters (model A)  FEV1, FEV6, FEV1/FEV6, FEF25-75, personal best FEV1, FEV1 in % of it, zones green,
 *                              yellow, orange
 *     68 characters (model B)  PEF, FEV0.75, FEV1, FEV6, FEV1/FEV6, FEF25-75, personal bests FEV1 and PEF, FEV1 and PEF
 *                              in % of them, zones green, yellow, orange
 *     volumes in 1/100 L, FEF in 1/100 L/s, the ratio in 1/100, PEF in L/min
 *   time     four capitals or none, YYMMDDhhmmss
 *
 * Source: README.md beside this file. */
#ifndef VITALOGRAPH_LUNGMONITOR_FRAME_H
#define VITALOGRAPH_LUNGMONITOR_FRAME_H

#include <asalee/bytes.h>

#define VLM_ACK_BYTE 0x06
#define VLM_NAK_BYTE 0x15
#define VLM_PAYLOAD_MAX 96 /* the longest known is 68 */
#define VLM_WIRE_MAX (VLM_PAYLOAD_MAX + 3)
#define VLM_HEAD "FTD" /* of a blow */

enum vlm_status { VLM_MORE, VLM_FRAME, VLM_DAMAGED, VLM_ACK, VLM_NAK };

struct vlm_reader {
  enum { VLM_BETWEEN, VLM_INSIDE, VLM_CHECK } state;
  uint8_t bcc;
  bool printable;     /* the frame under way holds only what a payload may */
  const char *wrong;  /* what is wrong with it, or NULL */
  const char *damage; /* English reason of the last VLM_DAMAGED */
  bool framed;        /* that one looked like a frame of this monitor, not like something else */
  size_t n;
  char payload[VLM_PAYLOAD_MAX + 1]; /* of the last VLM_FRAME, NUL-terminated */
};

void vlm_reader_init(struct vlm_reader *r);
/* As if 02 and the head of a blow had been read already. */
void vlm_resume(struct vlm_reader *r);
/* 02 and the head of a blow, and nothing more, have been read. */
bool vlm_is_head(const struct vlm_reader *r);

/* Takes one byte. A damaged frame is reported once, at its end or at the next 02. */
enum vlm_status vlm_take(struct vlm_reader *r, uint8_t byte);

/* Nothing more will come: ends a frame under way, and says whether there was one; that is a VLM_DAMAGED. */
bool vlm_settle(struct vlm_reader *r);

/* Writes the frame of a payload of at most VLM_PAYLOAD_MAX characters and returns its length. */
size_t vlm_encode(const char *payload, uint8_t wire[static VLM_WIRE_MAX]);

/* Numbers as they are on the wire; 0 in those that only model B has. */
struct vlm_blow {
  bool model_b;
  char id[11], software[4];
  uint16_t pef, fev075, fev1, fev6, ratio, fef25_75;
  uint16_t fev1_best, pef_best, fev1_percent, pef_percent, green, yellow, orange;
  bool rejected;
  int64_t clock_us; /* of the monitor's clock, as acq_clock_to_us() */
};

/* Whether a payload says it is a blow. */
bool vlm_is_blow(const char *payload);
/* Reads one: 0; -EPROTO for another length or a character that is no digit, -ERANGE for a date that is none, both with
 * an English reason. *ret is untouched on failure. */
int vlm_blow_read(const char *payload, struct vlm_blow *ret, const char **ret_reason);

/* Reads the answer to "what time is it"; -EPROTO when the payload is none, -ERANGE for a date that is none. */
int vlm_time_read(const char *payload, int64_t *ret_us);

#endif
