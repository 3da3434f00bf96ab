/* Every simulated instrument, and every way to one: a declaration and a line, in alphabetical order. */
#include "carrier.h"
#include "engine.h"
#include "engine_usb.h"

extern const struct sim_engine sim_emi12, sim_phdc, sim_ptp, sim_sp80b, sim_vitalograph;

const struct sim_engine *const sim_engines[] = {
    &sim_emi12, &sim_phdc, &sim_ptp, &sim_sp80b, &sim_vitalograph, NULL,
};

extern const struct sim_carrier sim_serial_carrier, sim_usb_carrier;

const struct sim_carrier *const sim_carriers[] = {
    &sim_serial_carrier,
    &sim_usb_carrier,
    NULL,
};

extern const struct sim_usb sim_phdc_usb, sim_ptp_usb;

const struct sim_usb *const sim_usbs[] = {
    &sim_phdc_usb,
    &sim_ptp_usb,
    NULL,
};
