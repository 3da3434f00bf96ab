/*
 * sp80b: simulated Contec SP80B, spirometer with a memory, over a serial link.
 *
 * Wire format: only the first byte of a message has its highest bit set; numbers of two bytes are low seven bits, high
 * seven bits; the last byte is the sum of all before it, modulo 128, but a wave has none.
 *   host:   80 start, 83 set time, 82 version, 94 predicted, 90 count, 91 00 01 first record, 91 01 01 next, 91 7E 01
 *           end and keep, 91 7F 01 end and delete, 92 00 wave of the record sent last, 93 delete all, 8B set user
 *   device: F0, F3, F2, E4, E0, E1 (record, 44 bytes), E2 (wave, 5 + 8 a sample), E3
 * A sample of a wave is a byte with the highest bits of the seven that follow: time u24 / 10000 s, flow s16 / 1000 L/s,
 * volume s16 / 1000 L.
 * What the protocol text does not say is in README.md.
 */
#ifndef ASALEED_SIM_SP80B_H
#define ASALEED_SIM_SP80B_H

#include "blow.h"
#include "engine.h"

#include <stdbool.h>

extern const struct sim_engine sim_sp80b;

/* The blow of the i-th record in memory, from 0; false past the last. */
bool sp80b_blow(const void *engine, unsigned i, struct blow_options *ret);

#endif
