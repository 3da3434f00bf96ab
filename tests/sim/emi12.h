/*
 * emi12: simulated Corscience EMI12 12-lead ECG module, protocol engine.
 *
 * Pure: no files, no threads, no clock. The caller passes the time in and carries the bytes. Same options, same calls,
 * same bytes out.
 *
 * Wire format: FC body FD; FC, FD and FE inside the body are sent as FE, byte ^ 0x20. The body is packet number u8,
 * command u16 LE, data, CRC-16/CCITT-FALSE u16 LE over all that precedes it, before stuffing.
 *
 * Not stated by the protocol text, and chosen here (see README.md for the reasons):
 *  - every request with a good CRC is acknowledged, known or not; an unknown or malformed one has no other effect
 *  - acknowledgements and replies take packet numbers from the same count as ECG frames
 *  - power-on configuration: 12 leads, 500 Hz, contact threshold 2 400 000
 *  - a configuration with another lead set or rate, or sent while streaming, is acknowledged but neither confirmed nor
 *    applied
 *  - about 47.27 frames/s whatever the rate: the real capture's mean of 10545 sets in 997 frames, scaled by the rate;
 *    a frame leaves, whole, when its last set has been sampled
 *  - the dataset counter restarts at each start; packet number and block counter go on (as the real capture shows)
 *  - start while streaming and stop while stopped are acknowledged and change nothing
 *  - contact measurement: one report at once, then one every 500 ms; starting the ECG ends it; asked for while the ECG
 *    streams it is acknowledged only
 *  - a contact bit is set when the electrode's impedance is below the threshold: 20 000 to 29 000 on, 16 000 000 off
 *  - electrode R off idles II, L off idles III, F off idles both, C1..C6 idle V1..V6, N idles none; idle is -1
 *  - protocol version 2; advanced ECG (layout not public) is acknowledged only
 *  - replaying a recording, the recording's packet numbers stand, and the module's own count follows them
 */
#ifndef ASALEED_SIM_EMI12_H
#define ASALEED_SIM_EMI12_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EMI12_SIM_LEADS 8       /* II, III, V1..V6 */
#define EMI12_SIM_ELECTRODES 10 /* contact bit order: C1..C6, N, F, R, L */
#define EMI12_SIM_IDLE (-1)     /* sample of a lead whose electrode is off */
#define EMI12_SIM_COUNTER_MASK 0x1FFFFFu
#define EMI12_SIM_FRAME_SETS 10545u /* sets per ... */
#define EMI12_SIM_FRAME_COUNT 997u  /* ... frames at 500 Hz */

struct emi12_sim;

/* "every arg-th": the ECG frames number arg, 2 arg, 3 arg ... after the start command; an arg longer than half the
 * session makes the fault happen exactly once. Faults add up; setting one again replaces its argument. */
enum emi12_fault {
  EMI12_FAULT_NONE,            /* clears all faults */
  EMI12_FAULT_LEAD_OFF,        /* arg: electrode 0..9; may be given for several */
  EMI12_FAULT_LEAD_ON,         /* arg: electrode 0..9 back on */
  EMI12_FAULT_LOST_FRAME,      /* every arg-th ECG frame (10) is never sent; its numbers are used up */
  EMI12_FAULT_BAD_CRC,         /* every arg-th ECG frame (10) has one bit wrong */
  EMI12_FAULT_TRUNCATED_FRAME, /* every arg-th ECG frame (10) stops half way, without its FD */
  EMI12_FAULT_DUPLICATE_PN,    /* every arg-th ECG frame (10) bears the packet number of the one before (not replay) */
  EMI12_FAULT_DUPLICATE_FRAME, /* every arg-th ECG frame (10) is sent twice */
  EMI12_FAULT_COUNTER_SKIP,    /* every arg-th ECG frame (10) counts one set more than it holds (not replay) */
  EMI12_FAULT_LONG_FRAME,      /* every 10th ECG frame is preceded by FC and arg (5000) bytes without an FD */
  EMI12_FAULT_NOISE,           /* arg (16) random bytes before every ECG frame */
  EMI12_FAULT_SILENCE,         /* dead after arg (0) more ECG frames: sends nothing, hears nothing */
  EMI12_FAULT_BABBLE,          /* endless random bytes at the line's rate in place of everything; hears nothing */
  EMI12_FAULT_WRONG_RATE,      /* runs at arg (100) Hz whatever was asked, and confirms what it runs at */
  EMI12_FAULT_RATE_DRIFT,      /* frames come at arg (90) percent of their rate */
  EMI12_FAULT_NO_START,        /* start is acknowledged and nothing follows */
  EMI12_FAULT_NO_STOP,         /* stop is acknowledged and the stream goes on */
  EMI12_FAULT_NO_ACK,          /* nothing is acknowledged; replies still come */
  EMI12_FAULT_WRONG_ACK,       /* acknowledgements name the packet number after the right one */
  EMI12_FAULT_NO_REPLY,        /* acknowledged, but no specific reply */
  EMI12_FAULT_WRONG_DEVICE,    /* identification reply is arg (0x0102), little endian */
  EMI12_FAULT_SELF_TEST_FAIL,  /* arg (0x20): bits cleared in the self-test's first byte (80 RAM, 40 flash, 20 ADC) */
  EMI12_FAULT_COUNT
};

/* Zeroed fields take the default in brackets. Strings and stream stay the caller's and must outlive the simulator. */
struct emi12_sim_options {
  uint64_t seed;            /* noise of the ECG and of the babble */
  const uint8_t *stream;    /* recording to replay after each start [NULL: synthetic ECG] */
  size_t stream_len;        /* bytes */
  unsigned stream_rate_hz;  /* rate of the recording [500] */
  bool unpaced;             /* as fast as the caller reads; speed is ignored */
  unsigned speed;           /* times real time [1] */
  unsigned rate_hz;         /* power-on rate, 100, 200, 500 or 1000 [500] */
  unsigned leads;           /* power-on lead set, 3 or 12 [12] */
  unsigned heart_rate;      /* beats per minute, 20..300 [72] */
  unsigned gain_percent;    /* of the synthetic ECG, up to 10000, clipped to 15 bits [100] */
  uint8_t packet_number;    /* first one sent */
  uint16_t block_counter;   /* at power-on */
  uint32_t dataset_counter; /* counts from here at each start (modulo 2^21) */
  const char *firmware;     /* 11 ASCII characters, padded or cut ["EMI12-01.00"] */
  uint8_t protocol_version; /* [2] */
};

/* speed as the one number of command lines: 0 = as fast as possible. Sets unpaced and speed. */
void emi12_sim_options_speed(struct emi12_sim_options *options, unsigned speed);

struct emi12_sim_stats {
  uint64_t bytes_in, bytes_out; /* out: handed to the caller */
  uint64_t requests;            /* frames with a good CRC */
  uint64_t requests_bad;        /* damaged ones, ignored */
  uint64_t frames_out;          /* all frames, damaged or not */
  uint64_t ecg_frames, ecg_sets;
};

/* NULL with errno ENOMEM, or EINVAL for an option out of range. */
struct emi12_sim *emi12_sim_create(const struct emi12_sim_options *options);
void emi12_sim_destroy(struct emi12_sim *sim); /* NULL is fine */

/* As options.stream and stream_len say it at the beginning. 0, or -EINVAL for no bytes or amid a stream. */
int emi12_sim_replay(struct emi12_sim *sim, const uint8_t *stream, size_t len);

/* As power coming back: stopped, power-on configuration and counters. Faults and statistics stay. */
void emi12_sim_power_on(struct emi12_sim *sim);

/* arg 0 takes the default in brackets above. 0, or -EINVAL. */
int emi12_sim_fault(struct emi12_sim *sim, enum emi12_fault fault, unsigned arg);
/* "lost-frame:25", "none"; names are those of the enumeration, small letters and hyphens. 0, or -EINVAL. */
int emi12_sim_fault_text(struct emi12_sim *sim, const char *text);
const char *emi12_fault_name(enum emi12_fault fault); /* NULL past the end */

/* Times are microseconds of any clock that does not go back, the same for all calls. */
void emi12_sim_receive(struct emi12_sim *sim, uint64_t now_us, const uint8_t *bytes, size_t len);
size_t emi12_sim_transmit(struct emi12_sim *sim, uint64_t now_us, uint8_t *buf, size_t max);
/* Nobody listens any more: what waited to be sent is lost, the module goes on. Unpaced, a stop that waited for the end
 * of the recording takes effect now. */
void emi12_sim_line_closed(struct emi12_sim *sim);
/* When there will be more to transmit: 0 = now, UINT64_MAX = only after a receive. */
uint64_t emi12_sim_next_us(const struct emi12_sim *sim);

bool emi12_sim_streaming(const struct emi12_sim *sim);
unsigned emi12_sim_rate_hz(const struct emi12_sim *sim); /* the rate it runs, or would run, at */
void emi12_sim_get_stats(const struct emi12_sim *sim, struct emi12_sim_stats *ret);

/* What the synthetic ECG sends, in LSB of 2.63 uV, for lead 0..7 of set set_index, 0 being the first after the latest
 * start. Electrode faults count from the set at which they were set (the latest interval of each electrode is known).
 * INT_MIN for another lead or a replay. */
int emi12_sim_truth(const struct emi12_sim *sim, unsigned lead, uint32_t set_index);

#endif
