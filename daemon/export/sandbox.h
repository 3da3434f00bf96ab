/* The walls around an export: after sandbox_enter() the process can read and write the descriptors it has, and use
 * memory. No file, no socket, no program, no child, no clock that it could put into an object. A refused call fails
 * with EPERM. */
#ifndef ASALEED_EXPORT_SANDBOX_H
#define ASALEED_EXPORT_SANDBOX_H

/* For good. 0, or a negative errno: then nothing that was given may be looked at. */
int sandbox_enter(void);

#endif
