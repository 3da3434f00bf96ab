/* The EMI12 as the simulator program knows it. */
#include "emi12.h"
#include "engine.h"
#include "option.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static bool set_option(struct emi12_sim_options *o, const char *key, const char *value) {
  uint64_t n = 0;
  unsigned speed = 0;
  if (strcmp(key, "speed") == 0) {
    if (!option_speed(value, &speed))
      return false;
    emi12_sim_options_speed(o, speed);
  } else if (strcmp(key, "seed") == 0) {
    return option_number(value, UINT64_MAX, &o->seed);
  } else if (strcmp(key, "heart-rate") == 0) {
    if (!option_number(value, 300, &n))
      return false;
    o->heart_rate = (unsigned)n;
  } else if (strcmp(key, "gain") == 0) {
    if (!option_number(value, 10000, &n))
      return false;
    o->gain_percent = (unsigned)n;
  } else if (strcmp(key, "rate") == 0) {
    if (!option_number(value, 1000, &n))
      return false;
    o->rate_hz = (unsigned)n;
  } else if (strcmp(key, "leads") == 0) {
    if (!option_number(value, 12, &n))
      return false;
    o->leads = (unsigned)n;
  } else if (strcmp(key, "packet") == 0) {
    if (!option_number(value, 0xFF, &n))
      return false;
    o->packet_number = (uint8_t)n;
  } else if (strcmp(key, "block") == 0) {
    if (!option_number(value, 0xFFFF, &n))
      return false;
    o->block_counter = (uint16_t)n;
  } else if (strcmp(key, "dataset") == 0) {
    if (!option_number(value, EMI12_SIM_COUNTER_MASK, &n))
      return false;
    o->dataset_counter = (uint32_t)n;
  } else {
    return false;
  }
  return true;
}

static void *create(const char *options, int64_t local_us, char why[static 256]) {
  struct emi12_sim_options o = {0};
  struct option option;
  int r;
  (void)local_us; /* it has no clock */
  while ((r = option_next(&options, &option)) > 0) {
    if (!set_option(&o, option.key, option.value)) {
      snprintf(why, 256, "%s: unknown, or not with '%.100s'", option.key, option.value);
      return NULL;
    }
  }
  if (r < 0) {
    snprintf(why, 256, "'%.100s' is not key=value", options);
    return NULL;
  }
  struct emi12_sim *sim = emi12_sim_create(&o);
  if (!sim)
    snprintf(why, 256, "%s", errno == EINVAL ? "an option is out of range" : strerror(errno));
  return sim;
}

static void destroy(void *sim) {
  emi12_sim_destroy(sim);
}

static void power_on(void *sim, uint64_t now_us) {
  (void)now_us;
  emi12_sim_power_on(sim);
}

static int fault(void *sim, const char *text) {
  return emi12_sim_fault_text(sim, text);
}

static int command(void *sim, uint64_t now_us, const char *text, char answer[static 256]) {
  static const uint8_t start[] = {0xFC, 0x00, 0x05, 0x09, 0x01, 0x89, 0xC5, 0xFD};
  if (strcmp(text, "start") != 0) {
    snprintf(answer, 256, "unknown command");
    return -EINVAL;
  }
  emi12_sim_receive(sim, now_us, start, sizeof(start));
  answer[0] = '\0';
  return 0;
}

static size_t stats(const void *sim, char *text, size_t size) {
  struct emi12_sim_stats s;
  emi12_sim_get_stats(sim, &s);
  int n = snprintf(text, size,
                   "streaming=%d bytes_in=%llu requests=%llu requests_bad=%llu frames_out=%llu ecg_frames=%llu "
                   "ecg_sets=%llu",
                   emi12_sim_streaming(sim), (unsigned long long)s.bytes_in, (unsigned long long)s.requests,
                   (unsigned long long)s.requests_bad, (unsigned long long)s.frames_out,
                   (unsigned long long)s.ecg_frames, (unsigned long long)s.ecg_sets);
  return n < 0 ? 0 : (size_t)n;
}

static void receive(void *sim, uint64_t now_us, const uint8_t *bytes, size_t n) {
  emi12_sim_receive(sim, now_us, bytes, n);
}

static size_t transmit(void *sim, uint64_t now_us, uint8_t *bytes, size_t max) {
  return emi12_sim_transmit(sim, now_us, bytes, max);
}

static uint64_t next_us(const void *sim) {
  return emi12_sim_next_us(sim);
}

static void line_closed(void *sim, uint64_t now_us) {
  (void)now_us;
  emi12_sim_line_closed(sim);
}

static int replay(void *sim, const uint8_t *bytes, size_t n) {
  return emi12_sim_replay(sim, bytes, n);
}

const struct sim_engine sim_emi12 = {
    .name = "emi12",
    .bus = SIM_SERIAL,
    .help =
        "Corscience EMI12, 12-lead ECG module\n"
        "  seed=N           of the noise (0)\n"
        "  heart-rate=N     beats per minute, 20 to 300 (72)\n"
        "  gain=PERCENT     of the synthetic ECG (100); 4000 clips\n"
        "  rate=HZ          at power-on: 100, 200, 500 or 1000 (500)\n"
        "  leads=3|12       at power-on (12)\n"
        "  packet=N         first packet number (0)\n"
        "  block=N          first block counter (0)\n"
        "  dataset=N        the dataset counter starts from here (0)\n"
        "  stream=FILE      sent after each start, instead of a synthetic ECG\n"
        "  commands: start (the ECG, as if a host had asked)\n"
        "  faults: lead-off:E lead-on:E lost-frame:N bad-crc:N truncated-frame:N duplicate-pn:N duplicate-frame:N\n"
        "    counter-skip:N (every N-th ECG frame) long-frame:BYTES noise:BYTES silence:FRAMES babble wrong-rate:HZ\n"
        "    rate-drift:PERCENT no-start no-stop no-ack wrong-ack no-reply wrong-device:ID self-test-fail:BITS\n",
    .create = create,
    .destroy = destroy,
    .power_on = power_on,
    .fault = fault,
    .command = command,
    .stats = stats,
    .receive = receive,
    .transmit = transmit,
    .next_us = next_us,
    .line_closed = line_closed,
    .replay = replay,
};
