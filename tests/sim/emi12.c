#include "emi12.h"
#include "option.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum {
  BYTE_START = 0xFC,
  BYTE_END = 0xFD,
  BYTE_ESCAPE = 0xFE,
  ESCAPE_XOR = 0x20,

  REQUEST_GET = 0x0800,
  REQUEST_ANALOG = 0x0901,
  REQUEST_ECG = 0x0905,
  REQUEST_THRESHOLD = 0x0918,
  REQUEST_CONTACT = 0x0926,

  REPLY_PROTOCOL = 0x0100,
  REPLY_FIRMWARE = 0x0150,
  REPLY_ACK = 0x0200,
  REPLY_IDENTITY = 0x0500,
  REPLY_SELF_TEST = 0x0600,
  REPLY_ANALOG = 0x0701,
  REPLY_THRESHOLD = 0x0718,
  REPLY_ECG = 0x0724,
  REPLY_CONTACT = 0x0726,
};

#define FIRMWARE_LEN 11u
#define RX_MAX 256u   /* the longest request is 8 bytes; anything near this is line noise */
#define BODY_MAX 512u /* 22 sets of 8 two-byte samples at 1 kHz, header and trailer */
#define WIRE_MAX (2 * BODY_MAX + 2)
#define LONG_FRAME_MAX 60000u
#define CHUNK_MAX 4096u /* longest piece of a recording sent at once when it holds no frame end */
#define QUEUE_MAX (LONG_FRAME_MAX + 2 * CHUNK_MAX + 4 * WIRE_MAX)
#define REPLY_ROOM (4 * WIRE_MAX) /* requests are ignored rather than let the queue grow past this */
#define LATE_STOPS_MAX 16u
#define FRAMES_PER_CALL 4096u
#define CONTACT_PERIOD_US 500000u
#define THRESHOLD_DEFAULT 2400000u
#define IMPEDANCE_OFF 16000000u
#define LINE_BYTES_PER_S 23040u /* 230400 baud 8N1 */
#define BABBLE_CHUNK 64u
#define FAULT_PERIOD 10u

/* Contact bits, as numbered by the protocol. */
enum { ELECTRODE_C1 = 0, ELECTRODE_C6 = 5, ELECTRODE_N, ELECTRODE_F, ELECTRODE_R, ELECTRODE_L };

struct interval {
  uint64_t from, to; /* sets; from < to while the electrode was off */
};

struct emi12_sim {
  struct emi12_sim_options options;

  uint8_t packet_number;
  uint16_t block_counter;
  unsigned leads, rate_hz; /* as configured; WRONG_RATE overrides the rate */
  uint32_t threshold;

  bool streaming;
  unsigned stream_rate; /* of the running or latest stream */
  uint64_t base_us;     /* the stream's clock: at base_us, base_sets had been sampled */
  uint64_t base_sets;
  uint64_t sets;   /* since the start command */
  uint64_t frames; /* since the start command */
  uint32_t counter_skipped;

  size_t replay_pos;
  uint64_t replay_sets; /* at the end of the chunk at replay_pos */
  size_t replay_len;    /* of that chunk */
  uint32_t replay_counter;
  bool replay_counting;
  bool replay_numbered;
  uint8_t replay_number;              /* of that chunk; the module's own count follows it */
  uint8_t late_stops[LATE_STOPS_MAX]; /* packet numbers of stops to acknowledge when the recording is over */
  size_t late_stop_count;

  bool contact;
  uint64_t contact_us;

  bool fault_on[EMI12_FAULT_COUNT];
  unsigned fault_arg[EMI12_FAULT_COUNT];
  struct interval off[EMI12_SIM_ELECTRODES];
  uint64_t silent_from; /* ecg_frames */
  uint64_t babble_us;   /* 0: not begun */
  uint64_t random;

  uint8_t rx[RX_MAX];
  size_t rx_len;
  bool rx_inside, rx_escape, rx_too_long;

  uint8_t queue[QUEUE_MAX];
  size_t queue_pos, queue_len;

  struct emi12_sim_stats stats;
};

static const char *const fault_names[EMI12_FAULT_COUNT] = {
    [EMI12_FAULT_NONE] = "none",
    [EMI12_FAULT_LEAD_OFF] = "lead-off",
    [EMI12_FAULT_LEAD_ON] = "lead-on",
    [EMI12_FAULT_LOST_FRAME] = "lost-frame",
    [EMI12_FAULT_BAD_CRC] = "bad-crc",
    [EMI12_FAULT_TRUNCATED_FRAME] = "truncated-frame",
    [EMI12_FAULT_DUPLICATE_PN] = "duplicate-pn",
    [EMI12_FAULT_DUPLICATE_FRAME] = "duplicate-frame",
    [EMI12_FAULT_COUNTER_SKIP] = "counter-skip",
    [EMI12_FAULT_LONG_FRAME] = "long-frame",
    [EMI12_FAULT_NOISE] = "noise",
    [EMI12_FAULT_SILENCE] = "silence",
    [EMI12_FAULT_BABBLE] = "babble",
    [EMI12_FAULT_WRONG_RATE] = "wrong-rate",
    [EMI12_FAULT_RATE_DRIFT] = "rate-drift",
    [EMI12_FAULT_NO_START] = "no-start",
    [EMI12_FAULT_NO_STOP] = "no-stop",
    [EMI12_FAULT_NO_ACK] = "no-ack",
    [EMI12_FAULT_WRONG_ACK] = "wrong-ack",
    [EMI12_FAULT_NO_REPLY] = "no-reply",
    [EMI12_FAULT_WRONG_DEVICE] = "wrong-device",
    [EMI12_FAULT_SELF_TEST_FAIL] = "self-test-fail",
};

static const unsigned fault_defaults[EMI12_FAULT_COUNT] = {
    [EMI12_FAULT_LOST_FRAME] = FAULT_PERIOD,
    [EMI12_FAULT_BAD_CRC] = FAULT_PERIOD,
    [EMI12_FAULT_TRUNCATED_FRAME] = FAULT_PERIOD,
    [EMI12_FAULT_DUPLICATE_PN] = FAULT_PERIOD,
    [EMI12_FAULT_DUPLICATE_FRAME] = FAULT_PERIOD,
    [EMI12_FAULT_COUNTER_SKIP] = FAULT_PERIOD,
    [EMI12_FAULT_LONG_FRAME] = 5000,
    [EMI12_FAULT_NOISE] = 16,
    [EMI12_FAULT_WRONG_RATE] = 100,
    [EMI12_FAULT_RATE_DRIFT] = 90,
    [EMI12_FAULT_WRONG_DEVICE] = 0x0102,
    [EMI12_FAULT_SELF_TEST_FAIL] = 0x20,
};

/* ---- numbers ---- */

/* splitmix64: good enough as noise, and a hash of its argument, so any sample can be computed without its past. */
static uint64_t mix(uint64_t x) {
  x += 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

static uint8_t random_byte(struct emi12_sim *sim) {
  return (uint8_t)(mix(sim->random++) >> 24);
}

static uint16_t crc16(const uint8_t *bytes, size_t len) {
  unsigned crc = 0xFFFF;
  for (size_t i = 0; i < len; i++) {
    crc ^= (unsigned)bytes[i] << 8;
    for (int bit = 0; bit < 8; bit++)
      crc = (crc & 0x8000u) ? ((crc << 1) ^ 0x1021u) & 0xFFFFu : (crc << 1) & 0xFFFFu;
  }
  return (uint16_t)crc;
}

static bool is_special(uint8_t byte) {
  return byte == BYTE_START || byte == BYTE_END || byte == BYTE_ESCAPE;
}

static bool rate_is_known(unsigned rate_hz) {
  return rate_hz == 100 || rate_hz == 200 || rate_hz == 500 || rate_hz == 1000;
}

/* ---- synthetic ECG ---- */

enum { WAVE_P, WAVE_Q, WAVE_R, WAVE_S, WAVE_T, WAVE_COUNT };
enum { SOURCE_I, SOURCE_III, SOURCE_V1, SOURCE_COUNT = SOURCE_V1 + 6 };

/* Centre after the R peak and half width, microseconds, at rates up to 85 beats per minute. */
static const struct {
  int32_t centre_us, half_width_us;
} waves[WAVE_COUNT] = {
    [WAVE_P] = {-160000, 50000}, [WAVE_Q] = {-28000, 14000}, [WAVE_R] = {0, 26000},
    [WAVE_S] = {30000, 20000},   [WAVE_T] = {270000, 95000},
};

/* Amplitudes in LSB of 2.63 uV: a normal axis near 50 degrees, R growing from V1 to V4, deep S in V2. Lead II is not
 * here: it is the sum of I and III, so Einthoven's law holds to the last bit. */
static const int16_t amplitudes[SOURCE_COUNT][WAVE_COUNT] = {
    [SOURCE_I] = {38, -14, 235, -38, 95},        [SOURCE_III] = {22, -18, 185, -30, 42},
    [SOURCE_V1] = {18, 0, 85, -370, -45},        [SOURCE_V1 + 1] = {24, 0, 160, -560, 150},
    [SOURCE_V1 + 2] = {26, 0, 310, -420, 195},   [SOURCE_V1 + 3] = {28, -10, 540, -230, 190},
    [SOURCE_V1 + 4] = {28, -22, 510, -110, 150}, [SOURCE_V1 + 5] = {26, -26, 390, -45, 112},
};

/* (1 - x^2)^2 inside the half width, 0 outside, in 1/1024. Smooth, and the same integers on every machine. */
static int64_t bump(int64_t t_us, int64_t half_width_us) {
  if (t_us <= -half_width_us || t_us >= half_width_us)
    return 0;
  int64_t u = 1024 - (t_us * t_us * 1024) / (half_width_us * half_width_us);
  return u * u / 1024;
}

/* Breathing moves the baseline: a triangle of 5 s, +-12 LSB. */
static int64_t wander(int64_t t_us) {
  int64_t phase = t_us % 5000000;
  int64_t level = phase < 2500000 ? phase : 5000000 - phase;
  return level * 24 / 2500000 - 12;
}

static int clip(int64_t value) {
  return value > 16383 ? 16383 : value < -16384 ? -16384 : (int)value;
}

static int64_t source_value(const struct emi12_sim *sim, unsigned source, uint64_t set_index) {
  int64_t t_us = (int64_t)(set_index * 1000000u / sim->stream_rate);
  int64_t rr_us = 60000000 / (int64_t)sim->options.heart_rate;
  int64_t peak_us = t_us / rr_us * rr_us + rr_us * 2 / 5;
  int64_t squeeze = rr_us < 700000 ? rr_us : 700000; /* a fast heart has short intervals */
  int64_t sum = 0;
  for (int beat = -1; beat <= 1; beat++) {
    if (t_us / rr_us + beat < 0)
      continue;
    int64_t since_peak = t_us - (peak_us + beat * rr_us);
    for (unsigned w = 0; w < WAVE_COUNT; w++) {
      int64_t centre = waves[w].centre_us * squeeze / 700000;
      int64_t half_width = waves[w].half_width_us * squeeze / 700000;
      sum += amplitudes[source][w] * bump(since_peak - centre, half_width) / 1024;
    }
  }
  uint64_t noise = mix(sim->options.seed ^ mix(set_index * SOURCE_COUNT + source));
  sum += wander(t_us) + (int64_t)(noise % 5) - 2;
  return sum * (int64_t)sim->options.gain_percent / 100;
}

static bool electrode_was_off(const struct emi12_sim *sim, unsigned electrode, uint64_t set_index) {
  return set_index >= sim->off[electrode].from && set_index < sim->off[electrode].to;
}

static bool lead_was_off(const struct emi12_sim *sim, unsigned lead, uint64_t set_index) {
  if (lead >= 2)
    return electrode_was_off(sim, ELECTRODE_C1 + lead - 2, set_index);
  return electrode_was_off(sim, ELECTRODE_F, set_index) ||
         electrode_was_off(sim, lead == 0 ? ELECTRODE_R : ELECTRODE_L, set_index);
}

static int sample_value(const struct emi12_sim *sim, unsigned lead, uint64_t set_index) {
  if (lead_was_off(sim, lead, set_index))
    return EMI12_SIM_IDLE;
  if (lead == 0)
    return clip(source_value(sim, SOURCE_I, set_index) + source_value(sim, SOURCE_III, set_index));
  if (lead == 1)
    return clip(source_value(sim, SOURCE_III, set_index));
  return clip(source_value(sim, SOURCE_V1 + lead - 2, set_index));
}

int emi12_sim_truth(const struct emi12_sim *sim, unsigned lead, uint32_t set_index) {
  if (lead >= EMI12_SIM_LEADS || sim->options.stream)
    return INT_MIN;
  return sample_value(sim, lead, set_index);
}

/* ---- sending ---- */

static void queue_bytes(struct emi12_sim *sim, const uint8_t *bytes, size_t len) {
  if (sim->queue_pos > 0) {
    memmove(sim->queue, sim->queue + sim->queue_pos, sim->queue_len);
    sim->queue_pos = 0;
  }
  if (len > sizeof(sim->queue) - sim->queue_len)
    return;
  memcpy(sim->queue + sim->queue_len, bytes, len);
  sim->queue_len += len;
}

/* body has room for the CRC behind len. Returns the length on the wire. */
static size_t encode_frame(uint8_t *body, size_t len, uint8_t wire[WIRE_MAX]) {
  uint16_t crc = crc16(body, len);
  body[len++] = (uint8_t)(crc & 0xFF);
  body[len++] = (uint8_t)(crc >> 8);
  size_t n = 0;
  wire[n++] = BYTE_START;
  for (size_t i = 0; i < len; i++) {
    if (is_special(body[i])) {
      wire[n++] = BYTE_ESCAPE;
      wire[n++] = body[i] ^ ESCAPE_XOR;
    } else {
      wire[n++] = body[i];
    }
  }
  wire[n++] = BYTE_END;
  return n;
}

static uint8_t take_packet_number(struct emi12_sim *sim) {
  uint8_t number = sim->packet_number++;
  if (sim->packet_number == 0)
    sim->block_counter++;
  return number;
}

static void send_reply(struct emi12_sim *sim, uint16_t command, const uint8_t *data, size_t len) {
  uint8_t body[BODY_MAX], wire[WIRE_MAX];
  size_t n = 0;
  body[n++] = take_packet_number(sim);
  body[n++] = (uint8_t)(command & 0xFF);
  body[n++] = (uint8_t)(command >> 8);
  memcpy(body + n, data, len);
  n += len;
  queue_bytes(sim, wire, encode_frame(body, n, wire));
  sim->stats.frames_out++;
}

static void send_ack(struct emi12_sim *sim, uint8_t packet_number) {
  if (sim->fault_on[EMI12_FAULT_NO_ACK])
    return;
  if (sim->fault_on[EMI12_FAULT_WRONG_ACK])
    packet_number++;
  send_reply(sim, REPLY_ACK, &packet_number, 1);
}

static uint32_t impedance(const struct emi12_sim *sim, unsigned electrode) {
  if (electrode_was_off(sim, electrode, sim->sets))
    return IMPEDANCE_OFF;
  return 20000u + 1000u * electrode;
}

static unsigned contact_bits(const struct emi12_sim *sim) {
  unsigned bits = 0;
  for (unsigned e = 0; e < EMI12_SIM_ELECTRODES; e++)
    if (impedance(sim, e) < sim->threshold)
      bits |= 1u << e;
  return bits;
}

static void send_contact(struct emi12_sim *sim) {
  static const uint8_t order[EMI12_SIM_ELECTRODES] = {ELECTRODE_N, ELECTRODE_F, ELECTRODE_L, ELECTRODE_R, 5,
                                                      4,           3,           2,           1,           ELECTRODE_C1};
  uint8_t data[2 + 3 * EMI12_SIM_ELECTRODES];
  unsigned bits = contact_bits(sim);
  data[0] = (uint8_t)(bits >> 7);
  data[1] = (uint8_t)(bits & 0x7F);
  for (unsigned i = 0; i < EMI12_SIM_ELECTRODES; i++) {
    uint32_t value = impedance(sim, order[i]);
    data[2 + 3 * i] = (uint8_t)(value & 0xFF);
    data[3 + 3 * i] = (uint8_t)(value >> 8 & 0xFF);
    data[4 + 3 * i] = (uint8_t)(value >> 16 & 0xFF);
  }
  send_reply(sim, REPLY_CONTACT, data, sizeof(data));
}

/* ---- the ECG stream ---- */

/* Is the frame about to be sent (numbered from 1) one that the periodic fault strikes? */
static bool fault_strikes(const struct emi12_sim *sim, enum emi12_fault fault) {
  return sim->fault_on[fault] && sim->frames % sim->fault_arg[fault] == 0;
}

/* Damage done on the line, alike for synthetic frames and recordings. */
static void send_stream_wire(struct emi12_sim *sim, uint8_t *wire, size_t len) {
  sim->stats.ecg_frames++;
  if (fault_strikes(sim, EMI12_FAULT_LOST_FRAME))
    return;
  if (sim->fault_on[EMI12_FAULT_NOISE]) {
    for (unsigned i = 0; i < sim->fault_arg[EMI12_FAULT_NOISE]; i++) {
      uint8_t byte = random_byte(sim);
      queue_bytes(sim, &byte, 1);
    }
  }
  if (sim->fault_on[EMI12_FAULT_LONG_FRAME] && sim->frames % FAULT_PERIOD == 0) {
    static const uint8_t start = BYTE_START, filler = 0x55;
    queue_bytes(sim, &start, 1);
    for (unsigned i = 0; i < sim->fault_arg[EMI12_FAULT_LONG_FRAME]; i++)
      queue_bytes(sim, &filler, 1);
  }
  if (fault_strikes(sim, EMI12_FAULT_BAD_CRC)) {
    /* The bit must neither make nor break a special byte, else the frame would change shape and not only content. */
    size_t i = len / 2;
    while (i + 1 < len && (is_special(wire[i]) || is_special(wire[i] ^ 1) || wire[i - 1] == BYTE_ESCAPE))
      i++;
    if (i + 1 < len)
      wire[i] ^= 1;
  }
  if (fault_strikes(sim, EMI12_FAULT_TRUNCATED_FRAME))
    len /= 2;
  queue_bytes(sim, wire, len);
  sim->stats.frames_out++;
  if (fault_strikes(sim, EMI12_FAULT_DUPLICATE_FRAME)) {
    queue_bytes(sim, wire, len);
    sim->stats.frames_out++;
  }
}

/* Sets sampled by the end of the n-th frame (from 1). Rounded up, so that the first frame has 11 as in the capture. */
static uint64_t sets_after_frames(const struct emi12_sim *sim, uint64_t n) {
  uint64_t divisor = (uint64_t)EMI12_SIM_FRAME_COUNT * 500;
  return (n * EMI12_SIM_FRAME_SETS * sim->stream_rate + divisor - 1) / divisor;
}

static void send_ecg_frame(struct emi12_sim *sim) {
  uint8_t body[BODY_MAX], wire[WIRE_MAX];
  uint64_t sets_end = sets_after_frames(sim, ++sim->frames);
  uint16_t block = sim->block_counter;
  size_t n = 0;
  if (fault_strikes(sim, EMI12_FAULT_DUPLICATE_PN)) {
    body[n++] = (uint8_t)(sim->packet_number - 1);
    if (sim->packet_number == 0)
      block--;
  } else {
    body[n++] = take_packet_number(sim);
  }
  unsigned contact = contact_bits(sim);
  body[n++] = REPLY_ECG & 0xFF;
  body[n++] = REPLY_ECG >> 8;
  body[n++] = (uint8_t)(block & 0xFF);
  body[n++] = (uint8_t)(block >> 8);
  body[n++] = 0;
  body[n++] = (uint8_t)(0x60 | contact >> 7);
  body[n++] = (uint8_t)(contact & 0x7F);
  unsigned leads = sim->leads == 12 ? EMI12_SIM_LEADS : 2;
  for (; sim->sets < sets_end; sim->sets++) {
    for (unsigned lead = 0; lead < leads; lead++) {
      unsigned value = (unsigned)sample_value(sim, lead, sim->sets);
      int small = (int)value;
      if (small >= -64 && small <= 63) {
        body[n++] = (uint8_t)(value << 1 & 0xFE);
      } else {
        body[n++] = (uint8_t)((value >> 8 & 0x7F) << 1 | 1);
        body[n++] = (uint8_t)(value & 0xFF);
      }
    }
    sim->stats.ecg_sets++;
  }
  if (fault_strikes(sim, EMI12_FAULT_COUNTER_SKIP))
    sim->counter_skipped++;
  uint32_t counter = (uint32_t)(sim->sets + sim->options.dataset_counter + sim->counter_skipped);
  body[n++] = 0;
  body[n++] = (uint8_t)(counter & 0x7F);
  body[n++] = (uint8_t)(counter >> 7 & 0x7F);
  body[n++] = (uint8_t)(counter >> 14 & 0x7F);
  send_stream_wire(sim, wire, encode_frame(body, n, wire));
}

/* Reads the piece of the recording at replay_pos: where it ends, and by its counter, when it is due. */
static void replay_look(struct emi12_sim *sim) {
  const uint8_t *at = sim->options.stream + sim->replay_pos;
  size_t left = sim->options.stream_len - sim->replay_pos;
  size_t most = left < CHUNK_MAX ? left : CHUNK_MAX;
  const uint8_t *end = most ? memchr(at, BYTE_END, most) : NULL;
  sim->replay_len = end ? (size_t)(end - at) + 1 : most;
  if (!left)
    return;

  uint8_t body[CHUNK_MAX];
  size_t n = 0;
  bool escape = false;
  for (size_t i = 0; i < sim->replay_len; i++) {
    if (at[i] == BYTE_START) {
      n = 0;
      escape = false;
    } else if (at[i] == BYTE_ESCAPE) {
      escape = true;
    } else if (at[i] != BYTE_END) {
      body[n++] = escape ? at[i] ^ ESCAPE_XOR : at[i];
      escape = false;
    }
  }
  uint32_t delta = 0;
  sim->replay_numbered = false;
  if (n >= 14 && crc16(body, n - 2) == (uint16_t)(body[n - 2] | body[n - 1] << 8)) {
    uint32_t counter = body[n - 5] | (uint32_t)body[n - 4] << 7 | (uint32_t)body[n - 3] << 14;
    if (sim->replay_counting)
      delta = (counter - sim->replay_counter) & EMI12_SIM_COUNTER_MASK;
    sim->replay_counter = counter;
    sim->replay_counting = true;
    sim->replay_number = body[0];
    sim->replay_numbered = true;
  }
  /* A damaged piece, the first one, or a counter that jumps (two recordings joined) takes a frame's usual time. */
  if (delta == 0 || delta > 1000)
    delta = EMI12_SIM_FRAME_SETS / EMI12_SIM_FRAME_COUNT + 1;
  sim->replay_sets = sim->sets + delta;
}

static bool replay_over(const struct emi12_sim *sim) {
  return sim->options.stream && sim->replay_pos >= sim->options.stream_len;
}

static void send_replay_chunk(struct emi12_sim *sim) {
  uint8_t wire[CHUNK_MAX];
  memcpy(wire, sim->options.stream + sim->replay_pos, sim->replay_len);
  sim->frames++;
  sim->stats.ecg_sets += sim->replay_sets - sim->sets;
  sim->sets = sim->replay_sets;
  send_stream_wire(sim, wire, sim->replay_len);
  if (sim->replay_numbered)
    sim->packet_number = (uint8_t)(sim->replay_number + 1);
  sim->replay_pos += sim->replay_len;
  replay_look(sim);
}

static unsigned stream_clock_hz(const struct emi12_sim *sim) {
  return sim->options.stream ? sim->options.stream_rate_hz : sim->stream_rate;
}

static uint64_t sets_due_us(const struct emi12_sim *sim, uint64_t sets) {
  if (sim->options.unpaced)
    return 0;
  unsigned percent = sim->fault_on[EMI12_FAULT_RATE_DRIFT] ? sim->fault_arg[EMI12_FAULT_RATE_DRIFT] : 100;
  uint64_t per_s = (uint64_t)stream_clock_hz(sim) * sim->options.speed * percent;
  return sim->base_us + ((sets - sim->base_sets) * 100000000u + per_s - 1) / per_s;
}

static uint64_t stream_due_us(const struct emi12_sim *sim) {
  if (!sim->streaming || replay_over(sim))
    return UINT64_MAX;
  return sets_due_us(sim, sim->options.stream ? sim->replay_sets : sets_after_frames(sim, sim->frames + 1));
}

static void start_stream(struct emi12_sim *sim, uint64_t now_us) {
  sim->streaming = true;
  sim->contact = false;
  sim->stream_rate = emi12_sim_rate_hz(sim);
  sim->base_us = now_us;
  sim->base_sets = 0;
  for (unsigned e = 0; e < EMI12_SIM_ELECTRODES; e++) {
    bool off = electrode_was_off(sim, e, sim->sets);
    sim->off[e] = (struct interval){0, off ? UINT64_MAX : 0};
  }
  sim->sets = 0;
  sim->frames = 0;
  sim->counter_skipped = 0;
  sim->replay_pos = 0;
  sim->replay_counting = false;
  if (sim->options.stream)
    replay_look(sim);
}

static void answer_late_stops(struct emi12_sim *sim) {
  if (!sim->late_stop_count)
    return;
  for (size_t i = 0; i < sim->late_stop_count; i++)
    send_ack(sim, sim->late_stops[i]);
  sim->late_stop_count = 0;
  if (!sim->fault_on[EMI12_FAULT_NO_STOP])
    sim->streaming = false;
}

/* ---- requests ---- */

static void handle_get(struct emi12_sim *sim, uint16_t what) {
  uint8_t data[FIRMWARE_LEN];
  unsigned arg;
  switch (what) {
  case REPLY_PROTOCOL:
    send_reply(sim, REPLY_PROTOCOL, &sim->options.protocol_version, 1);
    break;
  case REPLY_FIRMWARE:
    for (size_t i = 0, over = 0; i < FIRMWARE_LEN; i++) {
      over = over || !sim->options.firmware[i];
      data[i] = over ? ' ' : (uint8_t)sim->options.firmware[i];
    }
    send_reply(sim, REPLY_FIRMWARE, data, FIRMWARE_LEN);
    break;
  case REPLY_IDENTITY:
    arg = sim->fault_on[EMI12_FAULT_WRONG_DEVICE] ? sim->fault_arg[EMI12_FAULT_WRONG_DEVICE] : 0x1E01;
    data[0] = (uint8_t)(arg & 0xFF);
    data[1] = (uint8_t)(arg >> 8 & 0xFF);
    send_reply(sim, REPLY_IDENTITY, data, 2);
    break;
  case REPLY_SELF_TEST:
    arg = sim->fault_on[EMI12_FAULT_SELF_TEST_FAIL] ? sim->fault_arg[EMI12_FAULT_SELF_TEST_FAIL] : 0;
    data[0] = (uint8_t)(0xE4 & ~arg);
    data[1] = 0x20;
    send_reply(sim, REPLY_SELF_TEST, data, 2);
    break;
  default:
    break;
  }
}

static void handle_ecg(struct emi12_sim *sim, uint64_t now_us, uint8_t packet_number, const uint8_t *data, size_t len) {
  bool start = len >= 1 && data[0] == 1, stop = len >= 1 && data[0] == 0;
  if (stop && sim->streaming && sim->options.stream && sim->options.unpaced && !replay_over(sim)) {
    /* Unpaced, the host has no time of its own to let pass: its stop means "after the whole recording". */
    if (sim->late_stop_count < LATE_STOPS_MAX)
      sim->late_stops[sim->late_stop_count++] = packet_number;
    return;
  }
  if (start)
    answer_late_stops(sim); /* the host has not waited: stop what it wanted stopped, and begin anew */
  send_ack(sim, packet_number);
  if (start && !sim->streaming && !sim->fault_on[EMI12_FAULT_NO_START])
    start_stream(sim, now_us);
  if (stop && !sim->fault_on[EMI12_FAULT_NO_STOP])
    sim->streaming = false;
}

static void handle_analog(struct emi12_sim *sim, const uint8_t *data, size_t len) {
  if (len < 2 || sim->streaming)
    return;
  unsigned rate_hz = 100u * data[1];
  if ((data[0] != 1 && data[0] != 2) || !rate_is_known(rate_hz))
    return;
  sim->leads = data[0] == 1 ? 3 : 12;
  sim->rate_hz = rate_hz;
  if (sim->fault_on[EMI12_FAULT_NO_REPLY])
    return;
  uint8_t confirm[2] = {data[0], (uint8_t)(emi12_sim_rate_hz(sim) / 100)};
  send_reply(sim, REPLY_ANALOG, confirm, sizeof(confirm));
}

static void handle_request(struct emi12_sim *sim, uint64_t now_us, const uint8_t *body, size_t len) {
  uint8_t packet_number = body[0];
  uint16_t command = (uint16_t)(body[1] | body[2] << 8);
  const uint8_t *data = body + 3;
  len -= 3;

  if (command == REQUEST_ECG) {
    handle_ecg(sim, now_us, packet_number, data, len);
    return;
  }
  send_ack(sim, packet_number);
  bool reply = !sim->fault_on[EMI12_FAULT_NO_REPLY];
  switch (command) {
  case REQUEST_GET:
    if (len >= 2 && reply)
      handle_get(sim, (uint16_t)(data[0] | data[1] << 8));
    break;
  case REQUEST_ANALOG:
    handle_analog(sim, data, len);
    break;
  case REQUEST_THRESHOLD:
    if (len < 3)
      break;
    sim->threshold = data[0] | (uint32_t)data[1] << 8 | (uint32_t)data[2] << 16;
    if (reply)
      send_reply(sim, REPLY_THRESHOLD, data, 3);
    break;
  case REQUEST_CONTACT:
    if (len < 1 || sim->streaming)
      break;
    sim->contact = data[0] == 1;
    sim->contact_us = now_us;
    break;
  default:
    break;
  }
}

static bool is_silent(const struct emi12_sim *sim) {
  return sim->fault_on[EMI12_FAULT_SILENCE] && sim->stats.ecg_frames >= sim->silent_from;
}

static void receive_frame(struct emi12_sim *sim, uint64_t now_us) {
  size_t len = sim->rx_len;
  if (sim->rx_too_long || len < 5 || crc16(sim->rx, len - 2) != (uint16_t)(sim->rx[len - 2] | sim->rx[len - 1] << 8)) {
    sim->stats.requests_bad++;
    return;
  }
  sim->stats.requests++;
  if (is_silent(sim) || sim->fault_on[EMI12_FAULT_BABBLE] || sizeof(sim->queue) - sim->queue_len < REPLY_ROOM)
    return;
  handle_request(sim, now_us, sim->rx, len - 2);
}

void emi12_sim_receive(struct emi12_sim *sim, uint64_t now_us, const uint8_t *bytes, size_t len) {
  sim->stats.bytes_in += len;
  for (size_t i = 0; i < len; i++) {
    uint8_t byte = bytes[i];
    if (byte == BYTE_START) {
      sim->rx_inside = true;
      sim->rx_escape = sim->rx_too_long = false;
      sim->rx_len = 0;
    } else if (!sim->rx_inside) {
      continue;
    } else if (byte == BYTE_END) {
      sim->rx_inside = false;
      receive_frame(sim, now_us);
    } else if (byte == BYTE_ESCAPE) {
      sim->rx_escape = true;
    } else if (sim->rx_len < sizeof(sim->rx)) {
      sim->rx[sim->rx_len++] = sim->rx_escape ? byte ^ ESCAPE_XOR : byte;
      sim->rx_escape = false;
    } else {
      sim->rx_too_long = true;
    }
  }
}

/* ---- time ---- */

static size_t babble(struct emi12_sim *sim, uint64_t now_us, uint8_t *buf, size_t max) {
  uint64_t period_us = sim->options.unpaced ? 0 : BABBLE_CHUNK * 1000000ull / LINE_BYTES_PER_S / sim->options.speed;
  if (sim->babble_us == 0 || sim->options.unpaced)
    sim->babble_us = now_us;
  size_t n = 0;
  while (sim->babble_us <= now_us && max - n >= BABBLE_CHUNK) {
    for (unsigned i = 0; i < BABBLE_CHUNK; i++)
      buf[n++] = random_byte(sim);
    sim->babble_us += period_us;
  }
  return n;
}

size_t emi12_sim_transmit(struct emi12_sim *sim, uint64_t now_us, uint8_t *buf, size_t max) {
  size_t n = 0;
  unsigned frames_left = FRAMES_PER_CALL; /* a fault may lose every frame: then no byte count would end the loop */
  while (n < max) {
    if (sim->queue_len > 0) {
      size_t part = sim->queue_len < max - n ? sim->queue_len : max - n;
      memcpy(buf + n, sim->queue + sim->queue_pos, part);
      sim->queue_pos += part;
      sim->queue_len -= part;
      n += part;
    } else if (is_silent(sim)) {
      break;
    } else if (sim->fault_on[EMI12_FAULT_BABBLE]) {
      n += babble(sim, now_us, buf + n, max - n);
      break;
    } else if (stream_due_us(sim) <= now_us) {
      if (frames_left-- == 0)
        break;
      if (sim->options.stream)
        send_replay_chunk(sim);
      else
        send_ecg_frame(sim);
      if (replay_over(sim))
        answer_late_stops(sim);
    } else if (sim->contact && sim->contact_us <= now_us) {
      send_contact(sim);
      sim->contact_us += CONTACT_PERIOD_US / (sim->options.unpaced ? 1 : sim->options.speed);
    } else {
      break;
    }
  }
  sim->stats.bytes_out += n;
  return n;
}

void emi12_sim_line_closed(struct emi12_sim *sim) {
  sim->queue_pos = sim->queue_len = 0;
  if (sim->late_stop_count) {
    sim->late_stop_count = 0;
    if (!sim->fault_on[EMI12_FAULT_NO_STOP])
      sim->streaming = false;
  }
}

uint64_t emi12_sim_next_us(const struct emi12_sim *sim) {
  if (sim->queue_len > 0)
    return 0;
  if (is_silent(sim))
    return UINT64_MAX;
  if (sim->fault_on[EMI12_FAULT_BABBLE])
    return sim->options.unpaced ? 0 : sim->babble_us;
  uint64_t next = stream_due_us(sim);
  if (sim->contact && sim->contact_us < next)
    next = sim->contact_us;
  return next;
}

/* ---- faults ---- */

const char *emi12_fault_name(enum emi12_fault fault) {
  return (unsigned)fault < EMI12_FAULT_COUNT ? fault_names[fault] : NULL;
}

/* A new pace counts from the set sent last, so that a change in mid-stream neither bursts nor stalls. */
static void rebase_clock(struct emi12_sim *sim) {
  if (!sim->streaming || sim->options.unpaced)
    return;
  sim->base_us = sets_due_us(sim, sim->sets);
  sim->base_sets = sim->sets;
}

int emi12_sim_fault(struct emi12_sim *sim, enum emi12_fault fault, unsigned arg) {
  if ((unsigned)fault >= EMI12_FAULT_COUNT)
    return -EINVAL;
  if (arg == 0)
    arg = fault_defaults[fault];
  switch (fault) {
  case EMI12_FAULT_NONE:
    rebase_clock(sim);
    for (unsigned e = 0; e < EMI12_SIM_ELECTRODES; e++)
      if (sim->off[e].to > sim->sets)
        sim->off[e].to = sim->sets;
    memset(sim->fault_on, 0, sizeof(sim->fault_on));
    sim->babble_us = 0;
    return 0;
  case EMI12_FAULT_LEAD_OFF:
    if (arg >= EMI12_SIM_ELECTRODES)
      return -EINVAL;
    if (!electrode_was_off(sim, arg, sim->sets))
      sim->off[arg] = (struct interval){sim->sets, UINT64_MAX};
    return 0;
  case EMI12_FAULT_LEAD_ON:
    if (arg >= EMI12_SIM_ELECTRODES)
      return -EINVAL;
    if (sim->off[arg].to > sim->sets)
      sim->off[arg].to = sim->sets;
    return 0;
  case EMI12_FAULT_LONG_FRAME:
    if (arg > LONG_FRAME_MAX)
      return -EINVAL;
    break;
  case EMI12_FAULT_NOISE:
    if (arg > CHUNK_MAX)
      return -EINVAL;
    break;
  case EMI12_FAULT_WRONG_RATE:
    if (!rate_is_known(arg))
      return -EINVAL;
    break;
  case EMI12_FAULT_RATE_DRIFT:
    if (arg > 1000)
      return -EINVAL;
    rebase_clock(sim);
    break;
  case EMI12_FAULT_SILENCE:
    sim->silent_from = sim->stats.ecg_frames + arg;
    break;
  case EMI12_FAULT_BABBLE:
    sim->babble_us = 0;
    break;
  default:
    break;
  }
  sim->fault_on[fault] = true;
  sim->fault_arg[fault] = arg;
  return 0;
}

int emi12_sim_fault_text(struct emi12_sim *sim, const char *text) {
  unsigned arg;
  int fault = option_fault(text, fault_names, EMI12_FAULT_COUNT, &arg);
  return fault < 0 ? fault : emi12_sim_fault(sim, (enum emi12_fault)fault, arg);
}

/* ---- life ---- */

void emi12_sim_options_speed(struct emi12_sim_options *options, unsigned speed) {
  options->unpaced = speed == 0;
  options->speed = speed;
}

bool emi12_sim_streaming(const struct emi12_sim *sim) {
  return sim->streaming;
}

unsigned emi12_sim_rate_hz(const struct emi12_sim *sim) {
  if (sim->fault_on[EMI12_FAULT_WRONG_RATE])
    return sim->fault_arg[EMI12_FAULT_WRONG_RATE];
  return sim->rate_hz;
}

void emi12_sim_get_stats(const struct emi12_sim *sim, struct emi12_sim_stats *ret) {
  *ret = sim->stats;
}

void emi12_sim_power_on(struct emi12_sim *sim) {
  for (unsigned e = 0; e < EMI12_SIM_ELECTRODES; e++) {
    bool off = electrode_was_off(sim, e, sim->sets);
    sim->off[e] = (struct interval){0, off ? UINT64_MAX : 0};
  }
  sim->packet_number = sim->options.packet_number;
  sim->block_counter = sim->options.block_counter;
  sim->leads = sim->options.leads;
  sim->rate_hz = sim->options.rate_hz;
  sim->stream_rate = sim->options.rate_hz;
  sim->threshold = THRESHOLD_DEFAULT;
  sim->streaming = sim->contact = false;
  sim->sets = sim->frames = 0;
  sim->counter_skipped = 0;
  sim->late_stop_count = 0;
  sim->babble_us = 0;
  sim->rx_inside = sim->rx_escape = sim->rx_too_long = false;
  sim->rx_len = 0;
  sim->queue_pos = sim->queue_len = 0;
}

struct emi12_sim *emi12_sim_create(const struct emi12_sim_options *options) {
  struct emi12_sim *sim = calloc(1, sizeof(*sim));
  if (!sim)
    return NULL;
  struct emi12_sim_options *o = &sim->options;
  *o = *options;
  if (!o->stream_rate_hz)
    o->stream_rate_hz = 500;
  if (!o->speed)
    o->speed = 1;
  if (!o->rate_hz)
    o->rate_hz = 500;
  if (!o->leads)
    o->leads = 12;
  if (!o->heart_rate)
    o->heart_rate = 72;
  if (!o->gain_percent)
    o->gain_percent = 100;
  if (!o->firmware)
    o->firmware = "EMI12-01.00";
  if (!o->protocol_version)
    o->protocol_version = 2;
  if (!rate_is_known(o->rate_hz) || (o->leads != 3 && o->leads != 12) || o->heart_rate < 20 || o->heart_rate > 300 ||
      o->gain_percent > 10000 || o->speed > 10000 || o->stream_rate_hz > 10000 || (o->stream_len && !o->stream)) {
    free(sim);
    errno = EINVAL;
    return NULL;
  }
  if (!o->stream_len)
    o->stream = NULL;
  sim->random = mix(o->seed);
  emi12_sim_power_on(sim);
  return sim;
}

int emi12_sim_replay(struct emi12_sim *sim, const uint8_t *stream, size_t len) {
  if (sim->streaming || !stream || !len)
    return -EINVAL;
  sim->options.stream = stream;
  sim->options.stream_len = len;
  return 0;
}

void emi12_sim_destroy(struct emi12_sim *sim) {
  free(sim);
}
