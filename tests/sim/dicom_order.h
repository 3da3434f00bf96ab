/* Rows of file_maker: DICOM files. */
#ifndef ASALEED_SIM_DICOM_ORDER_H
#define ASALEED_SIM_DICOM_ORDER_H

#include "file_maker.h"

extern const struct file_format dicom_ecg_format, dicom_fundus_format;

#endif
