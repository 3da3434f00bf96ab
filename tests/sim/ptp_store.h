/*
 * ptp_store: what lies on a simulated camera's cards: a DCIM tree, the pictures in it, and new ones.
 *
 * Objects are never freed before the store: one that was deleted while it was sent is still there to be sent.
 */
#ifndef ASALEED_SIM_PTP_STORE_H
#define ASALEED_SIM_PTP_STORE_H

#include "fundus.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PTP_STORAGES_MAX 2u
#define PTP_PICTURES_MAX 9999u /* the files of a folder: IMG_0001 to IMG_9999 */
#define PTP_NAME_MAX 128u
#define PTP_MAKE "Simulated Optics"
#define PTP_MODEL "SO-45 Retinograph"

enum {
  PTP_UNDEFINED = 0x3000,
  PTP_FOLDER = 0x3001,
  PTP_EXIF_JPEG = 0x3801,
  PTP_BMP = 0x3804,
  PTP_JFIF = 0x3808,
  PTP_PNG = 0x380B,
  PTP_TIFF = 0x380D,
};

struct ptp_object {
  uint32_t handle, storage, parent; /* parent: 0 at the top */
  uint16_t format;
  char name[PTP_NAME_MAX]; /* UTF-8 */
  uint8_t *bytes;          /* NULL: a folder */
  size_t n;
  size_t thumb, thumb_n;                             /* within bytes */
  unsigned width, height, thumb_width, thumb_height; /* 0: the camera does not know */
  int64_t taken_us;                                  /* by the camera's clock: local time, us since 1970 */
  bool shot;                                         /* not one of the old ones */
  bool unlisted;                                     /* waits for the host to fetch it, is on no card */
  bool gone;
};

struct ptp_store {
  struct ptp_object **objects; /* owned */
  unsigned count, room;
  unsigned storages;
  uint64_t seed;
  unsigned files, shots; /* numbers given */
};

/* What a shot shall be. */
struct ptp_shot {
  struct fundus_options picture; /* all but seed, make, model and date */
  bool raw;                      /* and a raw file beside the JPEG */
  bool unlisted;
  const char *path; /* a file's bytes in place of a picture; NULL */
  unsigned card;    /* 0, 1 */
  int64_t ago_us;   /* it was made so long before it is there */
};

/* With `stored` old pictures, shared between the cards, taken on the days before. 0, -ENOMEM. */
int ptp_store_init(struct ptp_store *store, unsigned storages, unsigned stored, uint64_t seed, int64_t local_us);
void ptp_store_finish(struct ptp_store *store);

uint32_t ptp_store_id(unsigned card); /* 00010001, 00020001 */
/* NULL: there is none, or it is gone. */
struct ptp_object *ptp_store_find(const struct ptp_store *store, uint32_t handle);
/* The n-th shot, from 1; NULL. */
const struct ptp_object *ptp_store_shot(const struct ptp_store *store, unsigned n);
/* What it made: ret[1] is the raw file or NULL. 0, -ENOMEM, -EINVAL: no such size, -ENOENT: no such file, -ENOSPC. */
int ptp_store_shoot(struct ptp_store *store, const struct ptp_shot *shot, int64_t local_us, struct ptp_object *ret[2]);

#endif
