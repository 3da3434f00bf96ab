/* The checksums that instruments use. Table driven: a driver may call this for every frame of a stream. */
#ifndef ASALEED_CRC_H
#define ASALEED_CRC_H

#include <stddef.h>
#include <stdint.h>

/* CRC-16/CCITT-FALSE (also CRC-16/IBM-3740): polynomial 0x1021, initial value 0xFFFF, nothing reflected, no final
 * xor; "123456789" gives 0x29B1. Source: catalogue of parametrised CRC algorithms (reveng). */
#define CRC16_CCITT_FALSE_INIT 0xffffu

/* The checksum of n more bytes after those that gave `crc`; start with CRC16_CCITT_FALSE_INIT. */
uint16_t crc16_ccitt(uint16_t crc, const void *bytes, size_t n);

#endif
