/* The start of a program that asaleed spawns: the control socket, and the one message that says what is to be done. */
#ifndef ASALEED_CONTROL_H
#define ASALEED_CONTROL_H

#include <asalee/wire.h>

/* Called by hand, or by another version's daemon: says why and ends the process with status 2. */
_Noreturn void control_refuse(const char *why);

/* Makes WIRE_FD_CONTROL non-blocking; refuses with `why` where it is no such socket. */
void control_open(const char *why);

/* Waits for the first message; refuses with `why` where it is not of this type. Does not return when the daemon
 * closed the socket instead. */
void control_first(struct wire_message *ret, enum wire_type type, const char *why);

#endif
