/* Every driver: one declaration and one line, in alphabetical order. */
#include <asalee/driver.h>

extern const struct acq_driver corscience_emi12;
extern const struct acq_driver vitalograph_lungmonitor;

const struct acq_driver *const acq_drivers[] = {
    &corscience_emi12,
    &vitalograph_lungmonitor,
    NULL,
};
