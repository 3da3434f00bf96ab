/*
 * vitalograph: simulated Vitalograph Lung Monitor, spirometer with a serial link.
 *
 * Wire format: 02 payload 03 BCC; the payload is ASCII, BCC the exclusive or of all from 02 to 03. The receiver answers
 * 06, or 15 for a bad BCC. A result's payload is "F", "TD", identifier [10], numbers of three digits each, the date and
 * time YYMMDDhhmmss, one digit for a bad blow (0: good) and three for "sw". The numbers, volumes and flows times 100:
 *   model a (56 characters): FEV1 FEV6 FEV1/FEV6 FEF25-75 FEV1-best FEV1% green yellow orange
 *   model b (68 characters): PEF(L/min) FEV0.75 FEV1 FEV6 FEV1/FEV6 FEF25-75 FEV1-best PEF-best FEV1% PEF% green yellow
 *     orange
 * Model b also hears commands in the same frame: GVGT, GVST + date and time, GVCM, GVRD, GVXR.
 * What the protocol text does not say is in README.md.
 */
#ifndef ASALEED_SIM_VITALOGRAPH_H
#define ASALEED_SIM_VITALOGRAPH_H

#include "blow.h"
#include "engine.h"

#include <stdbool.h>

extern const struct sim_engine sim_vitalograph;

/* The latest blow that the engine made; false when there was none. */
bool vitalograph_blow(const void *engine, struct blow_options *ret);

#endif
