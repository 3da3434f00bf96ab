#include "ptp_store.h"

#include "calendar.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DCIM 0x00080000u
#define FOLDER 0x01900000u
#define CARD_STEP 0x40000000u /* between the handles of two cards */
#define OLD_WIDTH 384u
#define OLD_HEIGHT 256u
#define DAY_US (86400 * (int64_t)1000000)
#define FILE_MAX (256l << 20)

uint32_t ptp_store_id(unsigned card) {
  return 0x00010001 + card * 0x10000;
}

struct ptp_object *ptp_store_find(const struct ptp_store *s, uint32_t handle) {
  for (unsigned i = s->count; i-- > 0;)
    if (s->objects[i]->handle == handle && !s->objects[i]->gone)
      return s->objects[i];
  return NULL;
}

const struct ptp_object *ptp_store_shot(const struct ptp_store *s, unsigned n) {
  for (unsigned i = 0; i < s->count; i++)
    if (s->objects[i]->shot && n-- == 1)
      return s->objects[i];
  return NULL;
}

static struct ptp_object *add(struct ptp_store *s, const struct ptp_object *what) {
  if (s->count == s->room) {
    unsigned room = s->room ? 2 * s->room : 64;
    struct ptp_object **objects = realloc(s->objects, room * sizeof(*objects));
    if (!objects)
      return NULL;
    s->objects = objects;
    s->room = room;
  }
  struct ptp_object *o = malloc(sizeof(*o));
  if (!o)
    return NULL;
  *o = *what;
  return s->objects[s->count++] = o;
}

static int add_folders(struct ptp_store *s, unsigned card, int64_t local_us) {
  struct ptp_object dcim = {.handle = DCIM + card * CARD_STEP,
                            .storage = ptp_store_id(card),
                            .format = PTP_FOLDER,
                            .name = "DCIM",
                            .taken_us = local_us};
  struct ptp_object folder = dcim;
  folder.handle = FOLDER + card * CARD_STEP;
  folder.parent = dcim.handle;
  snprintf(folder.name, sizeof(folder.name), "100RETIN");
  return add(s, &dcim) && add(s, &folder) ? 0 : -ENOMEM;
}

static struct ptp_object new_file(struct ptp_store *s, const struct ptp_shot *shot, int64_t local_us) {
  return (struct ptp_object){.handle = FOLDER + shot->card * CARD_STEP + s->files * 0x10,
                             .storage = ptp_store_id(shot->card),
                             .parent = FOLDER + shot->card * CARD_STEP,
                             .taken_us = local_us - shot->ago_us,
                             .unlisted = shot->unlisted};
}

static int make_jpeg(struct ptp_store *s, const struct ptp_shot *shot, struct ptp_object *o) {
  char date[20];
  struct fundus_options options = shot->picture;
  struct fundus f;
  struct tm t = calendar_show(o->taken_us);
  strftime(date, sizeof(date), "%Y:%m:%d %H:%M:%S", &t);
  options.seed = s->seed * 10007u + s->files;
  options.make = PTP_MAKE;
  options.model = PTP_MODEL;
  options.date = date;
  int r = fundus_make(&options, &f);
  if (r < 0)
    return r;
  o->format = PTP_EXIF_JPEG;
  o->bytes = f.jpeg;
  o->n = f.n;
  o->thumb = f.thumb;
  o->thumb_n = f.thumb_n;
  o->width = options.width;
  o->height = options.height;
  o->thumb_width = f.thumb_width;
  o->thumb_height = f.thumb_height;
  snprintf(o->name, sizeof(o->name), "IMG_%04u.JPG", s->files);
  return 0;
}

/* Not an image that anybody can open: a raw file's first bytes, and noise. */
static int make_raw(struct ptp_store *s, const struct ptp_shot *shot, struct ptp_object *o) {
  size_t n = (size_t)shot->picture.width * shot->picture.height / 2 / sizeof(uint64_t) + 2;
  uint64_t *words = malloc(n * sizeof(*words)), random = (s->seed + s->files) * 0x9E3779B97F4A7C15u | 1;
  if (!words)
    return -ENOMEM;
  for (size_t i = 0; i < n; i++) {
    random ^= random << 13;
    random ^= random >> 7;
    random ^= random << 17;
    words[i] = random;
  }
  memcpy(words, "II*\0\x10\0\0\0CR\2\0\0\0\0\0", 16);
  o->format = PTP_UNDEFINED;
  o->bytes = (uint8_t *)words;
  o->n = n * sizeof(*words);
  snprintf(o->name, sizeof(o->name), "IMG_%04u.CR2", s->files);
  return 0;
}

static uint16_t format_of(const uint8_t *bytes, size_t n) {
  static const struct {
    const char *magic;
    size_t n;
    uint16_t format;
  } kinds[] = {
      {"\xFF\xD8\xFF", 3, PTP_EXIF_JPEG},
      {"\x89PNG", 4, PTP_PNG},
      {"II*\0", 4, PTP_TIFF},
      {"MM\0*", 4, PTP_TIFF},
      {"BM", 2, PTP_BMP},
  };
  for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
    if (n >= kinds[i].n && memcmp(bytes, kinds[i].magic, kinds[i].n) == 0)
      return kinds[i].format;
  return PTP_UNDEFINED;
}

static int read_picture(const char *path, struct ptp_object *o) {
  const char *slash = strrchr(path, '/');
  FILE *file = fopen(path, "rbe");
  long n = file && fseek(file, 0, SEEK_END) == 0 ? ftell(file) : -1;
  int r = n >= 0 && n <= FILE_MAX ? 0 : -ENOENT;
  o->bytes = r == 0 ? malloc((size_t)n + 1) : NULL;
  if (r == 0 && !o->bytes)
    r = -ENOMEM;
  if (r == 0) {
    rewind(file);
    o->n = fread(o->bytes, 1, (size_t)n, file);
    o->format = format_of(o->bytes, o->n);
    snprintf(o->name, sizeof(o->name), "%s", slash ? slash + 1 : path);
  }
  if (file)
    fclose(file);
  return r;
}

int ptp_store_shoot(struct ptp_store *s, const struct ptp_shot *shot, int64_t local_us, struct ptp_object *ret[2]) {
  if (s->files == PTP_PICTURES_MAX)
    return -ENOSPC;
  s->files++;
  struct ptp_object o = new_file(s, shot, local_us), raw = o;
  o.handle |= 1;
  raw.handle |= 2;
  o.shot = true; /* the raw file has no number of its own */
  ret[1] = NULL;
  int r = shot->path ? read_picture(shot->path, &o) : make_jpeg(s, shot, &o);
  if (r < 0)
    return r;
  if (!(ret[0] = add(s, &o))) {
    free(o.bytes);
    return -ENOMEM;
  }
  s->shots++;
  if (shot->raw && !shot->path) {
    r = make_raw(s, shot, &raw);
    if (r == 0 && !(ret[1] = add(s, &raw))) {
      free(raw.bytes);
      r = -ENOMEM;
    }
  }
  return r;
}

int ptp_store_init(struct ptp_store *s, unsigned storages, unsigned stored, uint64_t seed, int64_t local_us) {
  struct ptp_object *made[2];
  *s = (struct ptp_store){.storages = storages, .seed = seed};
  int r = 0;
  for (unsigned card = 0; r == 0 && card < storages; card++)
    r = add_folders(s, card, local_us - 400 * DAY_US);
  for (unsigned i = 0; r == 0 && i < stored; i++) {
    struct ptp_shot shot = {.picture = {.width = OLD_WIDTH, .height = OLD_HEIGHT, .left = i & 1, .disc = i & 2},
                            .card = i % storages};
    r = ptp_store_shoot(s, &shot, local_us - (stored - i) * DAY_US, made);
    if (r == 0)
      made[0]->shot = false;
  }
  s->shots = 0;
  if (r < 0)
    ptp_store_finish(s);
  return r;
}

void ptp_store_finish(struct ptp_store *s) {
  for (unsigned i = 0; i < s->count; i++) {
    free(s->objects[i]->bytes);
    free(s->objects[i]);
  }
  free(s->objects);
  *s = (struct ptp_store){0};
}
