/*
 * engine: what every simulated instrument offers to the program that carries its bytes (sim_main.c).
 *
 * Pure: no files but those that an option or a command names, no threads, no clock. Times are microseconds of any clock
 * that does not go back, the same for all calls. Same options, same calls, same bytes out.
 */
#ifndef ASALEED_SIM_ENGINE_H
#define ASALEED_SIM_ENGINE_H

#include <stddef.h>
#include <stdint.h>

enum sim_bus { SIM_SERIAL = 1, SIM_USB };

struct sim_engine {
  const char *name; /* "emi12": as in "--instrument emi12,seed=3" */
  enum sim_bus bus;
  const char *help; /* its options, faults and commands, a line each */

  /* options: "key=value,key=value", "" for the defaults. local_us: what the wall clock on the practice's wall shows,
   * as microseconds since 1970-01-01 of that local time, when the caller's clock shows 0; an instrument with a clock
   * of its own runs from there unless an option says otherwise. NULL with a reason in why. */
  void *(*create)(const char *options, int64_t local_us, char why[static 256]);
  void (*destroy)(void *engine); /* NULL is fine */

  void (*power_on)(void *engine, uint64_t now_us); /* as power coming back; faults and statistics stay */
  int (*fault)(void *engine, const char *text);    /* "lost-frame:25", "none"; -EINVAL */
  /* A command of the instrument's own, as "blow obstructive"; the answer without "ok". -EINVAL with why. */
  int (*command)(void *engine, uint64_t now_us, const char *text, char answer[static 256]);
  size_t (*stats)(const void *engine, char *text, size_t size); /* "requests=3 frames_out=9": written like snprintf */

  void (*receive)(void *engine, uint64_t now_us, const uint8_t *bytes, size_t n);
  size_t (*transmit)(void *engine, uint64_t now_us, uint8_t *bytes, size_t max);
  uint64_t (*next_us)(const void *engine); /* when there will be more to transmit: 0 = now, UINT64_MAX = never */
  void (*line_closed)(void *engine, uint64_t now_us); /* nobody listens any more */

  /* What not every instrument has: NULL. */
  void (*line_opened)(void *engine, uint64_t now_us); /* somebody listens, until line_closed */
  /* A recording to send in place of what the engine would make up; the bytes stay the caller's. 0, -EINVAL. */
  int (*replay)(void *engine, const uint8_t *bytes, size_t n);
};

extern const struct sim_engine *const sim_engines[]; /* table.c; NULL ends it */

#endif
