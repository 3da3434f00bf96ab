/* The host's side of a PTP session: transactions, coming to rest, waiting.
 *
 * What a function returns: 0 when the camera said OK; a positive response code (enum ptp_response and others) when it
 * refused; a negative errno when the wire broke. Behind both of the latter camera->why says what it was, in English.
 * A transaction that broke leaves the device in its middle: ptp_rest() before the next. */
#ifndef PTP_CAMERA_CAMERA_H
#define PTP_CAMERA_CAMERA_H

#include "handles.h"
#include "ptp.h"

#define PTP_ANSWER_MS 5000u  /* the longest silence before an answer, */
#define PTP_LIST_MS 30000u   /*   before the list of a full card, */
#define PTP_OBJECT_MS 15000u /*   before and inside a picture */
#define PTP_SILENCE_MS 200u  /* a device that sends nothing for so long is at rest */
#define PTP_BUSY_WAIT_MS 250u
#define PTP_BUSY_MAX 60u /* such waits, then busy is a refusal: a quarter of a minute */
#define PTP_DATA_MAX (4 + 4 * PTP_HANDLES_MAX)
#define PTP_EVENTS_MAX 64u

struct ptp_event {
  uint16_t code;
  uint32_t parameter; /* the first; 0 when there is none */
};

struct ptp_camera {
  struct acq_io *io;
  bool open;            /* a session is */
  bool inside;          /* a transaction has begun and not ended */
  uint32_t transaction; /* the next one */
  char why[160];
  bool deaf;          /* there is no interrupt endpoint */
  size_t n_packet;    /* of an event whose rest has not come */
  uint8_t packet[64]; /* more than an event has: the packet that ends it may be longer than needed */
  bool lost;          /* events came that could not be kept or read */
  unsigned n_events;
  struct ptp_event events[PTP_EVENTS_MAX];
  size_t n_data;
  uint8_t data[PTP_DATA_MAX]; /* of the last transaction */
};

void ptp_camera_init(struct ptp_camera *camera, struct acq_io *io);

/* One transaction; its data are camera->data. A busy camera is asked again. ms: the longest silence. */
int ptp_ask(struct ptp_camera *camera, uint16_t operation, const uint32_t *parameters, unsigned n, unsigned ms);

/* One transaction whose data, exactly `size` bytes, go on with the io's blob (acq_blob); share as there. */
int ptp_ask_blob(struct ptp_camera *camera, uint16_t operation, const uint32_t *parameters, unsigned n, uint32_t size,
                 uint32_t share);

/* Waits until something of an event comes: 1; 0 after ms of silence. */
int ptp_wait(struct ptp_camera *camera, unsigned ms);
/* The oldest event that has come; false when there is none. */
bool ptp_take_event(struct ptp_camera *camera, struct ptp_event *ret);

/* Brings a device that may stand in the middle of anything to rest: cancels the transaction that is open, lets it say
 * what it still has to, waits until it is ready. The class requests by which this is done may be stalled. */
int ptp_rest(struct ptp_camera *camera);

/* Opens a session, whatever state an earlier one left the device in. */
int ptp_open(struct ptp_camera *camera);
/* Closes it; only a lost device is an error. */
int ptp_close(struct ptp_camera *camera);

#endif
