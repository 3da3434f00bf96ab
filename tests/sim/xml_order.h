/* Rows of file_maker: the ECG files that are XML. */
#ifndef ASALEED_SIM_XML_ORDER_H
#define ASALEED_SIM_XML_ORDER_H

#include "file_maker.h"

extern const struct file_format aecg_format, sierra_format, muse_format;

#endif
