/* Five tiny drivers for the worker's tests, and the instrument they talk to.
 *
 *   host "ID?\n"  instrument "TOY <serial>\n"
 *   host "GO\n"   instrument one frame a second: 'F', ten int16 LE, CRC-16/CCITT-FALSE LE over what precedes it
 *   host "STOP\n" instrument "OK\n"
 *
 * toy speaks it; toy_file imports a file that holds the line and the frames. Both give lead_ii at 10 Hz.
 * toy_memory imports such a file too: each frame is a trial, made as many seconds after the order's start as its first
 * sample says.
 * toy_camera imports a file of the line and of pictures: four bytes ('W', or 'D' for one that is dropped; its length,
 * little endian; 0) and the picture.
 * toy_whole takes a file whole: "WHOLE", then a byte a sample of lead_ii at 10 Hz. */
#ifndef WORKER_TOY_H
#define WORKER_TOY_H

#include <asalee/driver.h>

#define TOY_FRAME 23 /* bytes */
#define TOY_SAMPLES 10

extern const struct acq_driver toy, toy_file, toy_memory, toy_camera, toy_whole;
extern const struct acq_driver *const toy_table[];

/* The second-th frame; its samples are 100 second + i. */
void toy_frame(unsigned second, uint8_t bytes[static TOY_FRAME]);

/* A whole capture of `seconds` seconds, as text; malloc()ed. `end` is its last line without the newline, or NULL. */
char *toy_capture(unsigned seconds, const char *end);

#endif
