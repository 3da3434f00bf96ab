/*
 * option: the texts that simulated instruments are set up with, "key=value,key=value" and "fault:argument".
 */
#ifndef ASALEED_SIM_OPTION_H
#define ASALEED_SIM_OPTION_H

#include <stdbool.h>
#include <stdint.h>

#define OPTION_KEY_MAX 32u
#define OPTION_VALUE_MAX 1024u

struct option {
  char key[OPTION_KEY_MAX], value[OPTION_VALUE_MAX];
};

/* Takes the first pair off *text. 1; 0 when there is none left; -EINVAL for what is no pair, or too long. */
int option_next(const char **text, struct option *ret);

/* Decimal or 0x..., at most max. */
bool option_number(const char *text, uint64_t max, uint64_t *ret);
/* "1" to "10000" times real time; "max" is 0. */
bool option_speed(const char *text, unsigned *ret);
/* "21.09" to microseconds, up to 10^6 s. */
bool option_seconds(const char *text, uint64_t *ret_us);

/* "lost-frame:25": which of the names it is, and the argument, 0 without one. -EINVAL. */
int option_fault(const char *text, const char *const names[], unsigned count, unsigned *ret_arg);

#endif
