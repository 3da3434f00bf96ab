/*
 * phdc_agent: a simulated personal health device, the agent of IEEE 11073-20601: peak flow meter, spirometer, ECG,
 * scale, blood pressure monitor, oximeter, glucose meter.
 *
 * Written from the protocol's description, not from a manager; what the description leaves open and was chosen here is
 * listed in README-usb.md.
 *
 * Bytes are the APDUs as they cross the bulk endpoints. One call of transmit() is one transfer on the IN endpoint;
 * receive() takes any number of bytes. The agent keeps its APDUs until they are transmitted, and waits for an answer
 * from then on: a host that does not ask does not run its time-outs down.
 */
#ifndef ASALEED_SIM_PHDC_AGENT_H
#define ASALEED_SIM_PHDC_AGENT_H

#include "engine.h"
#include "phdc_model.h"

extern const struct sim_engine sim_phdc;

/* For the USB side of it. */
struct phdc_device *phdc_agent_device(void *agent);
bool phdc_agent_pending(const void *agent);      /* something to transmit */
bool phdc_agent_has_preamble(const void *agent); /* the metadata message preamble can be switched on */
void phdc_agent_preamble(void *agent, bool on);  /* before each APDU a transfer that announces it */

#endif
