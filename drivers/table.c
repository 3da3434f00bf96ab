/* Every driver: one declaration and one line, in alphabetical order. */
#include <asalee/driver.h>

extern const struct acq_driver contec_sp80b;
extern const struct acq_driver corscience_emi12;
extern const struct acq_driver file_contec_ecg90a;
extern const struct acq_driver file_dicom;
extern const struct acq_driver file_ge_muse_xml;
extern const struct acq_driver file_healforce;
extern const struct acq_driver file_hl7_aecg;
extern const struct acq_driver file_jpeg_fundus;
extern const struct acq_driver file_philips_sierra;
extern const struct acq_driver file_scp_ecg;
extern const struct acq_driver ieee11073_phdc;
extern const struct acq_driver ptp_camera;
extern const struct acq_driver vitalograph_lungmonitor;

/* clang-format off */
const struct acq_driver *const acq_drivers[] = {
    &contec_sp80b,
    &corscience_emi12,
    &file_contec_ecg90a,
    &file_dicom,
    &file_ge_muse_xml,
    &file_healforce,
    &file_hl7_aecg,
    &file_jpeg_fundus,
    &file_philips_sierra,
    &file_scp_ecg,
    &ieee11073_phdc,
    &ptp_camera,
    &vitalograph_lungmonitor,
    NULL,
};
/* clang-format on */
