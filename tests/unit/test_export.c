/* asaleed-export as the daemon starts it: a job, a record and data by descriptor, an object back. Every object is put
 * before dciodvfy and before our own judge. */
#include "check.h"
#include "hash.h"
#include "json.h"
#include "str.h"
#include <asalee/export.h>
#include <asalee/record.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jpeglib.h>
#include <png.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <tiffio.h>
#include <unistd.h>

/* ---- running it ---- */

static char program[512], folder[64];

struct bytes {
  uint8_t *at;
  size_t n;
};

struct result {
  int status; /* enum export_exit, or 128 + a signal */
  struct bytes object;
  char said[4096];
};

static struct bytes slurp(int fd) {
  struct stat s;
  assert_int_equal(fstat(fd, &s), 0);
  struct bytes b = {malloc((size_t)s.st_size + 1), (size_t)s.st_size};
  assert_int_equal(pread(fd, b.at, b.n, 0), b.n);
  b.at[b.n] = 0;
  return b;
}

static int memory(const void *bytes, size_t n) {
  int fd = memfd_create("given", MFD_CLOEXEC);
  assert_true(fd >= 0);
  assert_int_equal(write(fd, bytes, n), n);
  return fd;
}

/* `environment`: a variable to set ("TZ=..."), or NULL. */
static struct result run_in(const char *environment, const char *job, size_t job_n, const char *record, size_t record_n,
                            const void *data, size_t data_n) {
  int fds[4] = {memory(job, job_n), memory(record, record_n), memory(data, data_n), memory("", 0)};
  int said = memory("", 0);
  pid_t pid = fork();
  if (pid == 0) {
    int high[5];
    for (int i = 0; i < 5; i++)
      high[i] = fcntl(i < 4 ? fds[i] : said, F_DUPFD, 100);
    for (int i = 0; i < 4; i++)
      dup2(high[i], EXPORT_FD_JOB + i);
    dup2(high[4], STDERR_FILENO);
    closefrom(EXPORT_FD_OUT + 1);
    if (environment)
      putenv((char *)(uintptr_t)environment);
    execl(program, program, "encode", NULL);
    _exit(99);
  }
  int status;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  struct result r = {.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status),
                     .object = slurp(fds[3])};
  struct bytes text = slurp(said);
  snprintf(r.said, sizeof r.said, "%s", (char *)text.at);
  free(text.at);
  for (int i = 0; i < 4; i++)
    close(fds[i]);
  close(said);
  return r;
}

static struct result run(const char *job, const char *record, const void *data, size_t n) {
  return run_in(NULL, job, strlen(job), record, strlen(record), data, n);
}

static void refused(struct result r, const char *why) {
  if (r.status != EXPORT_REFUSED || r.object.n || !strstr(r.said, why))
    fail_msg("status %d, %zu bytes, said \"%s\", should have refused with \"%s\"", r.status, r.object.n, r.said, why);
  assert_ptr_equal(strchr(r.said, '\n'), r.said + strlen(r.said) - 1); /* one line */
  free(r.object.at);
}

/* What a shell command writes, both outputs; its exit status in *ret. */
static char *shell(const char *command, int *ret) {
  FILE *f = popen(command, "r");
  assert_non_null(f);
  size_t n = 0, room = 1 << 16;
  char *text = malloc(room);
  for (size_t got; (got = fread(text + n, 1, room - n - 1, f)) > 0;) {
    n += got;
    if (room - n < 4096)
      text = realloc(text, room *= 2);
  }
  text[n] = 0;
  int status = pclose(f);
  *ret = WIFEXITED(status) ? WEXITSTATUS(status) : 128;
  return text;
}

static void save(struct bytes b, const char *name, char path[static 128]) {
  snprintf(path, 128, "%s/%s", folder, name);
  FILE *f = fopen(path, "wb");
  assert_non_null(f);
  assert_int_equal(fwrite(b.at, 1, b.n, f), b.n);
  assert_int_equal(fclose(f), 0);
}

/* It is there, and both judges let it pass. */
static void good(const struct result *r) {
  char path[128], command[256], reason[256] = "";
  int status;
  if (r->status != EXPORT_DONE)
    fail_msg("status %d: %s", r->status, r->said);
  assert_string_equal(r->said, "");
  if (!check_object(r->object.at, r->object.n, reason))
    fail_msg("our own judge: %s", reason);
  save(r->object, "object.dcm", path);
  snprintf(command, sizeof command, "dciodvfy -new %s 2>&1", path);
  char *said = shell(command, &status);
  if (status || strstr(said, "Error") || strstr(said, "Information Object Not found"))
    fail_msg("dciodvfy: %s", said);
  free(said);
}

/* ---- a reader of our own, for explicit lengths ---- */

/* The value of an attribute of a dataset; NULL when it is not there. */
static const uint8_t *value(const uint8_t *at, size_t n, uint32_t tag, size_t *ret_n) {
  for (size_t i = 0; i + 8 <= n;) {
    const uint8_t *e = at + i;
    uint32_t this = (uint32_t)(e[0] | e[1] << 8) << 16 | (uint32_t)(e[2] | e[3] << 8);
    char vr[3] = {(char)e[4], (char)e[5], 0};
    bool wide = strstr("OB OW SQ UT UN", vr) != NULL;
    size_t head = wide ? 12 : 8,
           length = wide ? (size_t)e[8] | (size_t)e[9] << 8 | (size_t)e[10] << 16 | (size_t)e[11] << 24
                         : (size_t)(e[6] | e[7] << 8);
    if (this == tag) {
      *ret_n = length;
      return e + head;
    }
    i += head + length; /* undefined length comes last, and ends the loop */
  }
  return NULL;
}

static struct bytes dataset(const struct result *r) {
  size_t meta = 132 + 12 + (size_t)(r->object.at[140] | r->object.at[141] << 8);
  return (struct bytes){r->object.at + meta, r->object.n - meta};
}

/* A text without its padding, in a static field. */
static const char *text_of(const struct result *r, uint32_t tag) {
  static char text[256];
  size_t n;
  const uint8_t *v = value(dataset(r).at, dataset(r).n, tag, &n);
  if (!v || n >= sizeof text)
    return "(none)";
  memcpy(text, v, n);
  text[n] = 0;
  while (n && (text[n - 1] == ' ' || !text[n - 1]))
    text[--n] = 0;
  return text;
}

static unsigned u16_of(const struct result *r, uint32_t tag) {
  size_t n;
  const uint8_t *v = value(dataset(r).at, dataset(r).n, tag, &n);
  return v && n == 2 ? (unsigned)(v[0] | v[1] << 8) : 99999;
}

static bool holds(const struct result *r, const char *text) {
  return memmem(r->object.at, r->object.n, text, strlen(text)) != NULL;
}

#define SOP_CLASS 0x00080016
#define TWELVE "1.2.840.10008.5.1.4.1.1.9.1.1"
#define GENERAL "1.2.840.10008.5.1.4.1.1.9.1.2"

/* ---- jobs ---- */

static json_t *job_json(const char *act) {
  json_t *fundus = strcmp(act, "fundus") ? json_null()
                                         : json_pack("{s:{s:[s,s],s:s,s:b},s:s,s:s,s:i}", "dilation", "agents",
                                                     "tropicamide", "phenylephrine", "degree_mm", "6.5", "dilated", 1,
                                                     "field", "macula", "laterality", "R", "picture", 1);
  json_t *j = json_pack("{s:s,s:s,s:o,s:s,s:{s:i,s:s},s:s,s:{s:b,s:b},s:{s:s,s:s,s:s,s:s,s:s},s:s,s:{s:i,s:s},s:s,"
                        "s:{s:s,s:s,s:s}}",
                        "accepted", "2026-11-22T07:00:00.000000+01:00", "act", act, "fundus", fundus, "height_cm",
                        "168.5", "instance", "number", 1, "uid", "2.25.329800735698586629295641978511506172918",
                        "order", "O-5", "parts", "device", 1, "statements", 1, "patient", "birth_date", "1960-01-02",
                        "family", "Lœwe d’Ângé", "given", "Zoë €", "id", "P-12", "sex", "F", "schema", EXPORT_SCHEMA,
                        "series", "number", 1, "uid", "2.25.329800735698586629295641978511506172917", "station",
                        "Appareil du cabinet n° 1", "study", "id", "S-12", "ordered",
                        "2026-11-22T06:50:00.000000+01:00", "uid", "2.25.329800735698586629295641978511506172916");
  assert_non_null(j);
  return j;
}

static char *canonical(json_t *j) {
  char *text = json_canonical(j, NULL);
  assert_non_null(text);
  json_decref(j);
  return text;
}

static char *job(const char *act) {
  return canonical(job_json(act));
}

/* ---- records ---- */

static json_t *golden(const char *path) {
  char reason[256];
  json_t *j;
  int fd = open(path, O_RDONLY);
  assert_true(fd >= 0);
  struct bytes b = slurp(fd);
  close(fd);
  int r = json_read((char *)b.at, b.n, &j, reason);
  free(b.at);
  return r < 0 ? NULL : j; /* NULL for a refusal */
}

#define ECG_GOLDEN "tests/captures/corscience_emi12/lead-off.json"

static json_t *acquired_of(json_t *record) {
  return json_object_get(record, "acquired");
}

/* Gives every channel that many samples, and makes them: the same whatever the order. */
static struct bytes fill(json_t *record, size_t samples) {
  json_t *acquired = acquired_of(record), *channels = json_object_get(acquired, "channels"), *c;
  size_t i, values = samples * json_array_size(channels);
  char sha[HASH_TEXT];
  struct bytes data = {malloc(2 * values + 1), 2 * values};
  json_array_foreach(channels, i, c) {
    json_object_set_new(c, "first", json_integer((json_int_t)(i * samples)));
    json_object_set_new(c, "samples", json_integer((json_int_t)samples));
    json_object_set_new(c, "gaps", json_array());
    for (size_t k = 0; k < samples; k++) {
      int v = (int)((k * 37 + i * 1009) % 4001) - 2000;
      if (!strcmp(json_text(c, "code"), "time_step"))
        v = 100;
      data.at[2 * (i * samples + k)] = (uint8_t)v;
      data.at[2 * (i * samples + k) + 1] = (uint8_t)(v >> 8);
    }
  }
  hash_sha256_text(data.at, data.n, sha);
  json_object_set_new(json_object_get(acquired, "data"), "values", json_integer((json_int_t)values));
  json_object_set_new(json_object_get(acquired, "data"), "sha256", json_string(sha));
  return data;
}

static struct result run_ecg(json_t *record, struct bytes data) {
  char *j = job("ecg"), *r = canonical(record);
  struct result result = run(j, r, data.at, data.n);
  free(j);
  free(r);
  free(data.at);
  return result;
}

static json_t *fundus_record(struct bytes file, const char *format, unsigned width, unsigned height) {
  char sha[HASH_TEXT], empty[HASH_TEXT];
  hash_sha256_text(file.at, file.n, sha);
  hash_sha256_text("", 0, empty);
  json_t *j = json_pack(
      "{s:{s:[],s:{s:s,s:i,s:s,s:i},s:[],s:[{s:i,s:i,s:i,s:s,s:i,s:n,s:i,s:n,s:n,s:s,s:i,s:i}],s:[]},s:b,s:[],"
      "s:{s:s,s:s,s:s,s:s,s:s},s:{s:s,s:s},s:s,s:s,s:s,s:[],s:s,s:[{s:s,s:s,s:s,s:i,s:n}],s:s,s:[],s:b,s:n}",
      "acquired", "channels", "data", "encoding", "int16-le", "gap", -32768, "sha256", empty, "values", 0, "measures",
      "pictures", "bits", 8, "bytes", (int)file.n, "components", 3, "format", format, "height", (int)height,
      "laterality", "number", 1, "preview", "quality", "sha256", sha, "trial", 0, "width", (int)width, "trials",
      "complete", 1, "derived", "device", "firmware", "1.2", "make", "Canon", "model", "CR-2", "sensor", "", "serial",
      "77", "driver", "name", "ptp_camera", "version", "1", "end", "ok", "integrity", "none", "modality", "fundus",
      "quality", "schema", "asaleed-record-4", "sources", "make", "", "model", "", "name", "IMG_1.JPG", "picture", 1,
      "taken", "started", "2026-11-22T06:55:00.123456+01:00", "statements", "stray", 0, "subject");
  assert_non_null(j);
  return j;
}

static struct result run_fundus(struct bytes file, const char *format, unsigned width, unsigned height) {
  char *j = job("fundus"), *r = canonical(fundus_record(file, format, width, height));
  struct result result = run(j, r, file.at, file.n);
  free(j);
  free(r);
  return result;
}

/* ---- pictures ---- */

enum kind { YCC420, YCC444, YCC_ADOBE, RGB_ADOBE, GREY, CMYK, PROGRESSIVE };

#define WIDTH 61
#define HEIGHT 43

static void point(unsigned x, unsigned y, unsigned samples, uint8_t *to) {
  for (unsigned s = 0; s < samples; s++)
    to[s] = (uint8_t)(x * (s + 3) + y * (5 - s) + (x * y >> 3));
}

/* A picture with what cameras write beside it: EXIF, a comment and an APP13. */
static struct bytes jpeg(enum kind kind) {
  struct jpeg_compress_struct c;
  struct jpeg_error_mgr e;
  unsigned char *at = NULL;
  unsigned long n = 0;
  c.err = jpeg_std_error(&e);
  jpeg_create_compress(&c);
  jpeg_mem_dest(&c, &at, &n);
  c.image_width = WIDTH;
  c.image_height = HEIGHT;
  c.input_components = kind == GREY ? 1 : kind == CMYK ? 4 : 3;
  c.in_color_space = kind == GREY ? JCS_GRAYSCALE : kind == CMYK ? JCS_CMYK : JCS_RGB;
  jpeg_set_defaults(&c);
  if (kind == RGB_ADOBE)
    jpeg_set_colorspace(&c, JCS_RGB);
  if (kind == YCC_ADOBE)
    c.write_JFIF_header = FALSE, c.write_Adobe_marker = TRUE;
  if (kind == RGB_ADOBE) /* only Adobe's segment tells that these are not YCbCr */
    for (int i = 0; i < 3; i++)
      c.comp_info[i].component_id = i + 1;
  if (kind == YCC444)
    c.comp_info[0].h_samp_factor = c.comp_info[0].v_samp_factor = 1;
  if (kind == PROGRESSIVE)
    jpeg_simple_progression(&c);
  jpeg_start_compress(&c, TRUE);
  jpeg_write_marker(&c, 0xE1, (const JOCTET *)"Exif\0\0MARKER-EXIF", 17);
  jpeg_write_marker(&c, JPEG_COM, (const JOCTET *)"MARKER-COMMENT", 14);
  jpeg_write_marker(&c, 0xED, (const JOCTET *)"MARKER-APP13\xFF\xD9", 14);
  while (c.next_scanline < c.image_height) {
    uint8_t row[WIDTH * 4], *rows[1] = {row};
    for (unsigned x = 0; x < WIDTH; x++)
      point(x, c.next_scanline, (unsigned)c.input_components, row + x * (unsigned)c.input_components);
    jpeg_write_scanlines(&c, rows, 1);
  }
  jpeg_finish_compress(&c);
  jpeg_destroy_compress(&c);
  return (struct bytes){at, n};
}

static struct bytes decoded(const uint8_t *at, size_t n) {
  struct jpeg_decompress_struct d;
  struct jpeg_error_mgr e;
  d.err = jpeg_std_error(&e);
  jpeg_create_decompress(&d);
  jpeg_mem_src(&d, at, n);
  jpeg_read_header(&d, TRUE);
  jpeg_start_decompress(&d);
  size_t row = (size_t)d.output_width * (unsigned)d.output_components;
  struct bytes b = {malloc(row * d.output_height), row * d.output_height};
  while (d.output_scanline < d.output_height) {
    uint8_t *rows[1] = {b.at + d.output_scanline * row};
    jpeg_read_scanlines(&d, rows, 1);
  }
  jpeg_finish_decompress(&d);
  jpeg_destroy_decompress(&d);
  return b;
}

/* The file up to its first scan less APPn and comments, and all that follows. */
static struct bytes less_beside(struct bytes file) {
  struct bytes b = {malloc(file.n), 2};
  memcpy(b.at, file.at, 2);
  for (size_t i = 2; i < file.n;) {
    unsigned marker = file.at[i + 1];
    size_t n = 2 + (size_t)(file.at[i + 2] << 8 | file.at[i + 3]);
    if (marker == 0xDA)
      n = file.n - i;
    if (!((marker >= 0xE0 && marker <= 0xEF) || marker == 0xFE)) {
      memcpy(b.at + b.n, file.at + i, n);
      b.n += n;
    }
    i += n;
  }
  return b;
}

/* The one fragment, with its padding. */
static struct bytes fragment(const struct result *r) {
  size_t n;
  const uint8_t *v = value(dataset(r).at, dataset(r).n, 0x7FE00010, &n);
  assert_non_null(v);
  assert_int_equal(n, 0xFFFFFFFF);
  assert_memory_equal(v, "\xFE\xFF\x00\xE0\0\0\0\0\xFE\xFF\x00\xE0", 12);
  n = (size_t)v[12] | (size_t)v[13] << 8 | (size_t)v[14] << 16;
  assert_memory_equal(v + 16 + n, "\xFE\xFF\xDD\xE0\0\0\0\0", 8);
  assert_ptr_equal(v + 16 + n + 8, r->object.at + r->object.n);
  return (struct bytes){(uint8_t *)(uintptr_t)v + 16, n};
}

static void png_put(png_structp png, png_bytep bytes, size_t n) {
  struct bytes *b = png_get_io_ptr(png);
  b->at = realloc(b->at, b->n + n);
  memcpy(b->at + b->n, bytes, n);
  b->n += n;
}

static void png_done(png_structp png) {
  (void)png;
}

static struct bytes png(int bits, int colour, bool interlaced) {
  struct bytes b = {0};
  png_structp p = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
  png_infop info = png_create_info_struct(p);
  unsigned samples = colour == PNG_COLOR_TYPE_RGB ? 3 : colour == PNG_COLOR_TYPE_RGB_ALPHA ? 4 : 1;
  static uint8_t rows[HEIGHT][WIDTH * 4 * 2];
  uint8_t *all[HEIGHT];
  png_color palette[256];
  png_set_write_fn(p, &b, png_put, png_done);
  png_set_IHDR(p, info, WIDTH, HEIGHT, bits, colour, interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE, 0, 0);
  for (unsigned i = 0; i < 256; i++)
    palette[i] = (png_color){(uint8_t)i, (uint8_t)(255 - i), (uint8_t)(i * 7)};
  if (colour == PNG_COLOR_TYPE_PALETTE)
    png_set_PLTE(p, info, palette, 256);
  for (unsigned y = 0; y < HEIGHT; y++) {
    all[y] = rows[y];
    for (unsigned x = 0; x < WIDTH; x++)
      point(x, y, samples, rows[y] + x * samples);
  }
  png_write_info(p, info);
  png_write_image(p, all);
  png_write_end(p, info);
  png_destroy_write_struct(&p, &info);
  return b;
}

static struct bytes tiff(int compression, int bits) {
  char path[128];
  snprintf(path, sizeof path, "%s/picture.tif", folder);
  TIFF *t = TIFFOpen(path, "w");
  assert_non_null(t);
  TIFFSetField(t, TIFFTAG_IMAGEWIDTH, WIDTH);
  TIFFSetField(t, TIFFTAG_IMAGELENGTH, HEIGHT);
  TIFFSetField(t, TIFFTAG_BITSPERSAMPLE, bits);
  TIFFSetField(t, TIFFTAG_SAMPLESPERPIXEL, 3);
  TIFFSetField(t, TIFFTAG_PHOTOMETRIC, PHOTOMETRIC_RGB);
  TIFFSetField(t, TIFFTAG_PLANARCONFIG, PLANARCONFIG_CONTIG);
  TIFFSetField(t, TIFFTAG_COMPRESSION, compression);
  TIFFSetField(t, TIFFTAG_ROWSPERSTRIP, 8);
  for (unsigned y = 0; y < HEIGHT; y++) {
    uint8_t row[WIDTH * 3 * 2] = {0};
    for (unsigned x = 0; x < WIDTH; x++)
      point(x, y, 3, row + x * 3);
    TIFFWriteScanline(t, row, y, 0);
  }
  TIFFClose(t);
  int fd = open(path, O_RDONLY);
  struct bytes b = slurp(fd);
  close(fd);
  return b;
}

/* ---- electrocardiograms ---- */

static void ecg_of_twelve_leads(void **state) {
  (void)state;
  json_t *record = golden(ECG_GOLDEN);
  size_t samples = 1005, n, last = 0;
  struct bytes data = fill(record, samples), kept = {malloc(data.n), data.n};
  char path[128], command[256];
  int status;
  memcpy(kept.at, data.at, data.n);
  struct result r = run_ecg(record, data);
  good(&r);
  assert_string_equal(text_of(&r, SOP_CLASS), TWELVE);
  assert_string_equal(text_of(&r, 0x00100010), "Lœwe d’Ângé^Zoë €");
  assert_string_equal(text_of(&r, 0x00100020), "P-12");
  assert_string_equal(text_of(&r, 0x00080050), "O-5");
  assert_string_equal(text_of(&r, 0x00101020), "1.685");
  assert_string_equal(text_of(&r, 0x00081010), "Appareil du cabi"); /* 16 characters */
  assert_string_equal(text_of(&r, 0x00200060), "(none)");           /* no laterality */
  assert_true(holds(&r, "L'électrode blanche et verte (C3, V3) ne touche pas la peau"));
  const uint8_t *v = value(dataset(&r).at, dataset(&r).n, 0x54000100, &n);
  assert_non_null(memmem(v, n, "DS\x04\0002.63", 8));

  /* The toolkit's own reader gives every sample of every lead back. */
  save(r.object, "ecg.dcm", path);
  snprintf(command, sizeof command, "dcmdump -q +L +p +P 5400,1010 %s 2>&1", path);
  char *dump = shell(command, &status), *at = strchr(dump, ']') ? dump : dump;
  assert_int_equal(status, 0);
  at = strstr(dump, "OW ");
  assert_non_null(at);
  at += 3;
  for (size_t k = 0; k < samples; k++)
    for (size_t lead = 0; lead < 12; lead++) {
      unsigned want = (unsigned)(kept.at[2 * (lead * samples + k)] | kept.at[2 * (lead * samples + k) + 1] << 8);
      assert_int_equal(strtoul(at, &at, 16), want);
      last++;
      at++;
    }
  assert_int_equal(last, 12 * samples);
  free(dump);
  free(kept.at);
  free(r.object.at);
}

/* The limits of both kinds, from both sides. */
static void ecg_limits(void **state) {
  (void)state;
  static const struct {
    size_t leads, samples;
    const char *rate, *want; /* a class, or why it is refused */
    bool refused;
  } cases[] = {
      {12, 16384, "1000", TWELVE, false},  {12, 16385, "1000", GENERAL, false}, {13, 100, "200", TWELVE, false},
      {14, 100, "200", GENERAL, false},    {24, 100, "500", GENERAL, false},    {25, 100, "500", "more than 24", true},
      {12, 100, "199.99", "a rate", true}, {12, 100, "1000.1", "a rate", true}, {11, 100, "500", GENERAL, false},
      {12, 1, "500", TWELVE, false},       {12, 0, "500", "no samples", true},  {0, 100, "500", "form", true}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    json_t *record = golden(ECG_GOLDEN), *channels = json_object_get(acquired_of(record), "channels"), *c;
    size_t k;
    while (json_array_size(channels) > cases[i].leads)
      json_array_remove(channels, json_array_size(channels) - 1);
    while (json_array_size(channels) < cases[i].leads)
      json_array_append_new(channels, json_deep_copy(json_array_get(channels, 0)));
    json_array_foreach(channels, k, c) json_object_set_new(c, "rate", json_string(cases[i].rate));
    struct bytes data = fill(record, cases[i].samples);
    struct result r = run_ecg(record, data);
    if (cases[i].refused) {
      refused(r, cases[i].want);
      continue;
    }
    good(&r);
    assert_string_equal(text_of(&r, SOP_CLASS), cases[i].want);
    assert_int_equal(holds(&r, "10:11265"), cases[i].leads >= 12); /* however long, and whatever else there is */
    free(r.object.at);
  }
}

static void ecg_of_one_unspecified_lead(void **state) {
  (void)state;
  json_t *record = golden(ECG_GOLDEN), *channels = json_object_get(acquired_of(record), "channels");
  while (json_array_size(channels) > 1)
    json_array_remove(channels, 1);
  json_t *c = json_array_get(channels, 0);
  json_object_set_new(c, "code", json_string("lead_unspecified"));
  json_object_set_new(c, "label", json_string("ECG"));
  json_object_set_new(c, "mdc", json_integer(131328));
  struct bytes data = fill(record, 300);
  struct result r = run_ecg(record, data);
  good(&r);
  assert_string_equal(text_of(&r, SOP_CLASS), GENERAL);
  assert_true(holds(&r, "2:0 "));
  assert_false(holds(&r, "10:11345")); /* nor is it a system of twelve leads */
  free(r.object.at);
}

static void ecg_gaps(void **state) {
  (void)state;
  for (int gap = 0; gap < 2; gap++) {
    json_t *record = golden(ECG_GOLDEN), *c = json_array_get(json_object_get(acquired_of(record), "channels"), 3);
    struct bytes data = fill(record, 100);
    if (gap) {
      json_object_set_new(c, "gaps", json_pack("[[i,i]]", 10, 2));
      memcpy(data.at + 2 * (300 + 10), "\0\x80\0\x80", 4);
      char sha[HASH_TEXT];
      hash_sha256_text(data.at, data.n, sha);
      json_object_set_new(json_object_get(acquired_of(record), "data"), "sha256", json_string(sha));
    }
    struct result r = run_ecg(record, data);
    good(&r);
    assert_int_equal(memmem(r.object.at, r.object.n, "\x00\x54\x0A\x10OW\0\0\2\0\0\0\0\x80", 14) != NULL, gap);
    free(r.object.at);
  }
}

static void sentence_refers_to_its_lead(void **state) {
  (void)state;
  json_t *record = golden(ECG_GOLDEN);
  struct bytes data = fill(record, 100);
  json_object_set_new(record, "quality",
                      json_pack("[{s:s,s:i,s:s,s:s,s:s,s:i}]", "code", "lead_flat", "count", 1, "severity", "check",
                                "subject", "lead_v2", "text", "La dérivation V2 est plate : vérifier son électrode.",
                                "trial", 0));
  struct result r = run_ecg(record, data);
  good(&r);
  assert_non_null(memmem(r.object.at, r.object.n, "\x40\x00\xB0\xA0US\4\0\1\0\10\0", 12)); /* group 1, channel 8 */
  free(r.object.at);
}

/* ---- fundus ---- */

static void jpeg_is_kept_less_what_is_beside(void **state) {
  (void)state;
  static const struct {
    enum kind kind;
    const char *photometric;
  } cases[] = {{YCC420, "YBR_FULL_422"}, {YCC444, "YBR_FULL_422"}, {YCC_ADOBE, "YBR_FULL_422"}, {GREY, "MONOCHROME2"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct bytes file = jpeg(cases[i].kind), want = less_beside(file);
    struct result r = run_fundus(file, "jpeg", WIDTH, HEIGHT);
    good(&r);
    assert_string_equal(text_of(&r, 0x00280004), cases[i].photometric);
    assert_int_equal(u16_of(&r, 0x00280010), HEIGHT);
    assert_int_equal(u16_of(&r, 0x00280011), WIDTH);
    struct bytes got = fragment(&r), pixels = decoded(file.at, file.n), again = decoded(got.at, got.n);
    assert_int_equal(got.n, want.n + want.n % 2);
    assert_memory_equal(got.at, want.at, want.n);
    assert_int_equal(pixels.n, again.n);
    assert_memory_equal(pixels.at, again.at, pixels.n);
    assert_false(holds(&r, "MARKER"));
    assert_string_equal(text_of(&r, 0x00280301), "YES");
    assert_string_equal(text_of(&r, 0x00282110), "01");
    free(file.at), free(want.at), free(pixels.at), free(again.at), free(r.object.at);
  }
}

/* Segments that mean nothing in a baseline picture are where a text could hide as well. */
static void jpeg_has_no_segment_of_another_kind(void **state) {
  (void)state;
  struct bytes file = jpeg(YCC420), want = less_beside(file);
  for (unsigned marker = 1; marker < 0xFF; marker++) {
    if (marker >= 0xC0 && marker <= 0xDD && marker != 0xC8 && marker != 0xCC && marker != 0xDC)
      continue; /* a part of the picture, or what breaks it */
    struct bytes odd = {malloc(file.n + 8), file.n + 8};
    const uint8_t segment[8] = {0xFF, (uint8_t)marker, 0, 6, 'H', 'I', 'D', 'E'};
    memcpy(odd.at, file.at, 2);
    memcpy(odd.at + 2, segment, 8);
    memcpy(odd.at + 10, file.at + 2, file.n - 2);
    struct result r = run_fundus(odd, "jpeg", WIDTH, HEIGHT);
    if (marker == 1) { /* TEM has no length */
      refused(r, "");
    } else {
      good(&r);
      assert_false(holds(&r, "HIDE"));
      struct bytes got = fragment(&r);
      assert_int_equal(got.n, want.n + want.n % 2);
      assert_memory_equal(got.at, want.at, want.n);
      free(r.object.at);
    }
    free(odd.at);
  }
  free(file.at), free(want.at);
}

static void progressive_becomes_baseline_without_loss(void **state) {
  (void)state;
  struct bytes file = jpeg(PROGRESSIVE);
  struct result r = run_fundus(file, "jpeg-progressive", WIDTH, HEIGHT);
  good(&r);
  struct bytes got = fragment(&r), pixels = decoded(file.at, file.n), again = decoded(got.at, got.n);
  assert_memory_equal(pixels.at, again.at, pixels.n);
  assert_false(holds(&r, "MARKER"));
  assert_non_null(memmem(got.at, got.n, "\xFF\xC0", 2));
  free(file.at), free(pixels.at), free(again.at), free(r.object.at);
}

static void native_pixels(void **state) {
  (void)state;
  const struct {
    struct bytes file;
    const char *format;
    unsigned samples;
    bool palette;
  } cases[] = {{png(8, PNG_COLOR_TYPE_RGB, false), "png", 3, false},
               {png(8, PNG_COLOR_TYPE_RGB, true), "png", 3, false},
               {png(8, PNG_COLOR_TYPE_GRAY, false), "png", 1, false},
               {tiff(COMPRESSION_NONE, 8), "tiff", 3, false},
               {tiff(COMPRESSION_LZW, 8), "tiff", 3, false}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct result r = run_fundus(cases[i].file, cases[i].format, WIDTH, HEIGHT);
    size_t n, samples = cases[i].samples;
    good(&r);
    const uint8_t *v = value(dataset(&r).at, dataset(&r).n, 0x7FE00010, &n);
    assert_int_equal(n, WIDTH * HEIGHT * samples + WIDTH * HEIGHT * samples % 2);
    assert_string_equal(text_of(&r, 0x00280004), samples == 1 ? "MONOCHROME2" : "RGB");
    assert_string_equal(text_of(&r, 0x00282110), "00");
    for (unsigned y = 0; y < HEIGHT; y++)
      for (unsigned x = 0; x < WIDTH; x++) {
        uint8_t want[4];
        point(x, y, (unsigned)samples, want);
        assert_memory_equal(v + (y * WIDTH + x) * samples, want, samples);
      }
    free(cases[i].file.at);
    free(r.object.at);
  }
}

static void pictures_that_have_no_place(void **state) {
  (void)state;
  const struct {
    struct bytes file;
    const char *format, *why;
  } cases[] = {{jpeg(RGB_ADOBE), "jpeg", "red, green and blue"},
               {jpeg(CMYK), "jpeg", "CMYK"},
               {png(16, PNG_COLOR_TYPE_RGB, false), "png", "8 bits"},
               {png(8, PNG_COLOR_TYPE_RGB_ALPHA, false), "png", "transparency"},
               {tiff(COMPRESSION_NONE, 16), "tiff", "8 bits"},
               {tiff(COMPRESSION_JPEG, 8), "tiff", "compression"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    refused(run_fundus(cases[i].file, cases[i].format, WIDTH, HEIGHT), cases[i].why);
    free(cases[i].file.at);
  }
}

static void picture_cut_at_any_byte(void **state) {
  (void)state;
  struct bytes files[] = {jpeg(YCC420), jpeg(PROGRESSIVE), png(8, PNG_COLOR_TYPE_RGB, false)};
  const char *formats[] = {"jpeg", "jpeg-progressive", "png"};
  for (size_t i = 0; i < 3; i++) {
    for (size_t n = 0; n < files[i].n; n += n < 700 || n + 20 > files[i].n ? 5 : 97)
      refused(run_fundus((struct bytes){files[i].at, n}, formats[i], WIDTH, HEIGHT), "");
    free(files[i].at);
  }
}

static void picture_that_is_not_the_records(void **state) {
  (void)state;
  struct bytes file = jpeg(YCC420);
  refused(run_fundus(file, "jpeg", WIDTH + 1, HEIGHT), "not the record's picture");
  refused(run_fundus(file, "png", WIDTH, HEIGHT), "not the record's picture");
  json_t *j = job_json("fundus");
  json_object_set_new(json_object_get(j, "fundus"), "picture", json_integer(2));
  char *text = canonical(j), *record = canonical(fundus_record(file, "jpeg", WIDTH, HEIGHT));
  refused(run(text, record, file.at, file.n), "no such picture");
  free(text), free(record), free(file.at);
}

static void dilation(void **state) {
  (void)state;
  static const struct {
    const char *json;
    const char *degree, *agent; /* what the object must hold; NULL: not the attribute; "": the empty one */
    bool refused;
  } cases[] = {
      {"{\"agents\":[],\"degree_mm\":null,\"dilated\":false}", NULL, NULL, false},
      {"{\"agents\":[],\"degree_mm\":null,\"dilated\":true}", "", "", false},
      {"{\"agents\":[\"atropine\",\"cyclopentolate\"],\"degree_mm\":\"7\",\"dilated\":true}", "7", "771928002", false},
      {"{\"agents\":[\"tropicamide\"],\"degree_mm\":null,\"dilated\":false}", NULL, NULL, true},
      {"{\"agents\":[],\"degree_mm\":\"5\",\"dilated\":false}", NULL, NULL, true},
      {"{\"agents\":[\"coffee\"],\"degree_mm\":null,\"dilated\":true}", NULL, NULL, true},
      {"{\"agents\":[\"atropine\",\"atropine\"],\"degree_mm\":null,\"dilated\":true}", NULL, NULL, true},
      {"{\"agents\":[],\"degree_mm\":\"70\",\"dilated\":true}", NULL, NULL, true}};
  struct bytes file = jpeg(YCC420);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char reason[256];
    json_t *j = job_json("fundus"), *d;
    size_t n;
    assert_int_equal(json_read(cases[i].json, strlen(cases[i].json), &d, reason), 0);
    json_object_set_new(json_object_get(j, "fundus"), "dilation", d);
    json_object_set_new(json_object_get(j, "fundus"), "field", json_string("disc"));
    json_object_set_new(json_object_get(j, "fundus"), "laterality", json_string("L"));
    char *text = canonical(j), *record = canonical(fundus_record(file, "jpeg", WIDTH, HEIGHT));
    struct result r = run(text, record, file.at, file.n);
    free(text), free(record);
    if (cases[i].refused) {
      refused(r, "dilation");
      continue;
    }
    good(&r);
    assert_string_equal(text_of(&r, 0x00200062), "L");
    assert_true(holds(&r, "111901"));
    assert_string_equal(text_of(&r, 0x0022000D), cases[i].degree ? "YES" : "NO");
    const uint8_t *degree = value(dataset(&r).at, dataset(&r).n, 0x0022000E, &n);
    assert_int_equal(degree != NULL, cases[i].degree != NULL);
    if (degree)
      assert_int_equal(n, *cases[i].degree ? 4 : 0);
    assert_int_equal(value(dataset(&r).at, dataset(&r).n, 0x00220058, &n) != NULL, cases[i].agent != NULL);
    if (cases[i].agent)
      assert_true(holds(&r, cases[i].agent));
    free(r.object.at);
  }
  free(file.at);
}

/* ---- measured values, and every golden record there is ---- */

static void every_golden_record(void **state) {
  (void)state;
  static const char *const drivers[] = {"contec_sp80b", "corscience_emi12", "ieee11073_phdc",
                                        "vitalograph_lungmonitor"};
  size_t made = 0, refusals = 0;
  for (size_t d = 0; d < sizeof drivers / sizeof *drivers; d++) {
    char path[512];
    snprintf(path, sizeof path, "tests/captures/%s", drivers[d]);
    DIR *dir = opendir(path);
    assert_non_null(dir);
    for (struct dirent *e; (e = readdir(dir));) {
      size_t n = strlen(e->d_name);
      json_t *record;
      if (n < 5 || strcmp(e->d_name + n - 5, ".json"))
        continue;
      snprintf(path, sizeof path, "tests/captures/%s/%s", drivers[d], e->d_name);
      if (!(record = golden(path)))
        continue;
      const char *act = json_text(record, "modality");
      json_t *channels = json_object_get(acquired_of(record), "channels");
      bool ecg = !strcmp(act, "ecg");
      bool values = json_array_size(json_object_get(acquired_of(record), "measures")) > 0;
      struct bytes data = fill(record, 100);
      bool fits = (ecg ? json_array_size(channels) > 0 : values);
      char *j = job(act), *text = canonical(record);
      struct result r = run(j, text, data.at, data.n);
      free(j), free(text), free(data.at);
      if (fits) {
        good(&r);
        free(r.object.at);
        made++;
      } else {
        refused(r, "");
        refusals++;
      }
    }
    closedir(dir);
  }
  print_message("# %zu golden records became objects, %zu cannot\n", made, refusals);
  assert_true(made > 30);
}

/* The file of that name; at = NULL when it is not there. */
static struct bytes file_at(const char *path) {
  int fd = open(path, O_RDONLY);
  if (fd < 0)
    return (struct bytes){NULL, 0};
  struct bytes b = slurp(fd);
  close(fd);
  return b;
}

/* Each picture of the camera's golden records, and what stands in the object of its file. */
static void every_golden_picture(void **state) {
  (void)state;
  static const char *const names[] = {"normal", "eos", "repeated", "left-open"};
  size_t made = 0, i;
  for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
    char path[256];
    json_t *p;
    snprintf(path, sizeof path, "tests/captures/ptp_camera/%s.json", names[k]);
    json_t *record = golden(path);
    assert_non_null(record);
    char *text = json_canonical(record, NULL);
    json_array_foreach(json_object_get(acquired_of(record), "pictures"), i, p) {
      snprintf(path, sizeof path, "tests/captures/ptp_camera/blobs/%s", json_text(p, "sha256"));
      struct bytes file = file_at(path);
      assert_non_null(file.at);
      json_t *j = job_json("fundus");
      json_object_set(json_object_get(j, "fundus"), "picture", json_object_get(p, "number"));
      char *job_text = canonical(j);
      struct result r = run(job_text, text, file.at, file.n);
      good(&r);
      struct bytes got = fragment(&r), pixels = decoded(file.at, file.n), again = decoded(got.at, got.n);
      assert_int_equal(pixels.n, again.n);
      assert_memory_equal(pixels.at, again.at, pixels.n);
      if (!strcmp(json_text(p, "format"), "jpeg")) {
        struct bytes want = less_beside(file);
        assert_in_range(got.n, want.n, want.n + 1);
        assert_memory_equal(got.at, want.at, want.n);
        free(want.at);
      }
      made++;
      free(job_text), free(file.at), free(pixels.at), free(again.at), free(r.object.at);
    }
    free(text);
    json_decref(record);
  }
  print_message("# %zu golden pictures became objects\n", made);
  assert_true(made > 4);
}

/* Pictures of real cameras. */
static void real_pictures(void **state) {
  (void)state;
  static const char *const names[] = {"fundus/fundus_normal_right_eye_600px_CC0.jpg",
                                      "umockdev_powershot/IMG_0001.jpg"};
  const char *samples = getenv("ASALEED_SAMPLES");
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", samples ? samples : "", names[i]);
    struct bytes file = file_at(path);
    if (!file.at) {
      print_message("# skipped: %s\n", names[i]);
      skip();
    }
    struct jpeg_decompress_struct d;
    struct jpeg_error_mgr e;
    d.err = jpeg_std_error(&e);
    jpeg_create_decompress(&d);
    jpeg_mem_src(&d, file.at, file.n);
    jpeg_read_header(&d, TRUE);
    unsigned width = d.image_width, height = d.image_height;
    bool progressive = d.progressive_mode;
    jpeg_destroy_decompress(&d);
    struct result r = run_fundus(file, progressive ? "jpeg-progressive" : "jpeg", width, height);
    good(&r);
    struct bytes got = fragment(&r), want = less_beside(file), pixels = decoded(file.at, file.n),
                 again = decoded(got.at, got.n);
    if (!progressive) {
      assert_in_range(got.n, want.n, want.n + 1);
      assert_memory_equal(got.at, want.at, want.n);
    }
    assert_int_equal(pixels.n, again.n);
    assert_memory_equal(pixels.at, again.at, pixels.n);
    free(file.at), free(want.at), free(pixels.at), free(again.at), free(r.object.at);
  }
}

static void measured_values(void **state) {
  (void)state;
  json_t *record = golden("tests/captures/contec_sp80b/two-blows.json");
  struct bytes data = fill(record, 100);
  char *j = job("spirometry"), *text = canonical(record);
  struct result r = run(j, text, data.at, data.n);
  free(j), free(text), free(data.at);
  good(&r);
  assert_string_equal(text_of(&r, SOP_CLASS), "1.2.840.10008.5.1.4.1.1.88.33");
  static const char *const there[] = {"20150-9", "2:21515", "VEMS", "2.31", "UCUM", "phase_post", "111526"};
  for (size_t i = 0; i < sizeof there / sizeof *there; i++)
    assert_true(holds(&r, there[i]));
  free(r.object.at);
}

/* ---- what whoever gets the object may see ---- */

static void mark(json_t *object, const char *const *keys) {
  for (; *keys; keys++) {
    char text[64];
    snprintf(text, sizeof text, "MARKER-%s", *keys);
    json_object_set_new(object, *keys, json_string(text));
  }
}

static void parts(void **state) {
  (void)state;
  static const char *const device[] = {"make", "model", "serial", "firmware", NULL};
  const struct {
    const char *act, *golden;
  } cases[] = {{"ecg", ECG_GOLDEN},
               {"spirometry", "tests/captures/contec_sp80b/two-blows.json"},
               {"measurement", "tests/captures/ieee11073_phdc/simulated-bp.json"},
               {"fundus", NULL}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct bytes data = cases[i].golden ? (struct bytes){NULL, 0} : jpeg(YCC420);
    json_t *record = cases[i].golden ? golden(cases[i].golden) : fundus_record(data, "jpeg", WIDTH, HEIGHT);
    if (cases[i].golden)
      data = fill(record, 100);
    else
      json_object_set_new(record, "sources",
                          json_pack("[{s:s,s:s,s:s,s:i,s:n}]", "make", "MARKER-source", "model", "MARKER-source",
                                    "name", "MARKER-source", "picture", 1, "taken"));
    mark(json_object_get(record, "device"), device);
    json_object_set_new(record, "statements",
                        json_pack("[{s:s,s:s,s:i},{s:s,s:s,s:i}]", "code", "MARKER-c1", "text", "MARKER-statement 1",
                                  "trial", 0, "code", "MARKER-c2", "text", "MARKER-statement 2", "trial", 0));
    char *text = canonical(record);
    for (int given = 0; given < 4; given++) {
      json_t *j = job_json(cases[i].act);
      json_object_set_new(j, "parts", json_pack("{s:b,s:b}", "device", given & 1, "statements", given & 2));
      char *job_text = canonical(j);
      struct result r = run(job_text, text, data.at, data.n);
      free(job_text);
      good(&r);
      for (const char *const *key = device; *key; key++) {
        char want[64];
        snprintf(want, sizeof want, "MARKER-%s", *key);
        assert_int_equal(holds(&r, want), given & 1);
      }
      bool says = (given & 2) && strcmp(cases[i].act, "fundus"); /* a photograph has no place for statements */
      assert_int_equal(holds(&r, "MARKER-statement 1"), says);
      assert_int_equal(holds(&r, "MARKER-statement 2"), says);
      assert_false(holds(&r, "MARKER-source"));
      if (given == 0)
        assert_false(holds(&r, "MARKER"));
      free(r.object.at);
    }
    free(text), free(data.at);
  }
}

static void long_statements_are_whole(void **state) {
  (void)state;
  json_t *record = golden(ECG_GOLDEN);
  struct bytes data = fill(record, 100);
  char text[6001];
  for (size_t i = 0; i < 6000; i += 2)
    memcpy(text + i, "é", 2);
  memcpy(text + 5994, "FIN€", 6);
  text[6000] = 0;
  json_object_set_new(record, "statements", json_pack("[{s:s,s:s,s:i}]", "code", "x", "text", text, "trial", 0));
  struct result r = run_ecg(record, data);
  good(&r);
  assert_true(holds(&r, "FIN€"));
  free(r.object.at);
}

/* ---- names ---- */

static void awkward_names(void **state) {
  (void)state;
  char many[201], long_name[1001] = "", want_long[300];
  memset(many, 'n', 200);
  many[200] = 0;
  for (int i = 0; i < 150; i++)
    strcat(long_name, "œ’");
  const struct {
    const char *family, *given, *want;
  } cases[] = {{"Œuvrard", "Zoë", "Œuvrard^Zoë"},
               {"d’Ârc", "€uro", "d’Ârc^€uro"},
               {"A^B=C\\D", "E\\F^G=H", "A B C D^E F G H"},
               {"  ", "Seule", "^Seule"},
               {"Seul", "", "Seul"},
               {"", "", ""},
               {" Jean - Paul ", " Ñ ", "Jean - Paul^Ñ"},
               {"ﬁ 漢字 🙂", "ß", "ﬁ 漢字 🙂^ß"},
               {many, "Zoë", NULL},
               {long_name, "", NULL}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    json_t *j = job_json("measurement"), *patient = json_object_get(j, "patient");
    json_object_set_new(patient, "family", json_string(cases[i].family));
    json_object_set_new(patient, "given", json_string(cases[i].given));
    json_object_set_new(patient, "id", json_string("N°€œ’"));
    char *job_text = canonical(j), *text = canonical(golden("tests/captures/ieee11073_phdc/simulated-bp.json"));
    struct result r = run(job_text, text, "", 0);
    free(job_text), free(text);
    good(&r);
    assert_string_equal(text_of(&r, 0x00080005), "ISO_IR 192");
    assert_string_equal(text_of(&r, 0x00100020), "N°€œ’");
    if (cases[i].want)
      assert_string_equal(text_of(&r, 0x00100010), cases[i].want);
    else { /* 64 bytes at most, no character cut in two */
      const char *name = text_of(&r, 0x00100010);
      assert_in_range(strlen(name), 58, 64);
      snprintf(want_long, sizeof want_long, "%s", name);
      assert_true(str_is_clean_utf8(want_long, strlen(want_long)));
    }
    free(r.object.at);
  }
}

/* ---- the same input, the same bytes ---- */

static void same_bytes(void **state) {
  (void)state;
  static const char *const environments[] = {"TZ=Asia/Tokyo", "LC_ALL=fr_FR.UTF-8", "DCMDICTPATH=/nowhere",
                                             "DCMDICTPATH=", "HOME=/"};
  struct bytes file = jpeg(PROGRESSIVE);
  json_t *blows = golden("tests/captures/contec_sp80b/two-blows.json");
  struct bytes samples = fill(blows, 100);
  const struct {
    char *job, *record;
    struct bytes data;
  } cases[] = {{job("fundus"), canonical(fundus_record(file, "jpeg-progressive", WIDTH, HEIGHT)), file},
               {job("spirometry"), canonical(blows), samples}};
  for (size_t i = 0; i < 2; i++) {
    struct result first = run(cases[i].job, cases[i].record, cases[i].data.at, cases[i].data.n);
    good(&first);
    for (size_t k = 0; k < sizeof environments / sizeof *environments; k++) {
      struct result again = run_in(environments[k], cases[i].job, strlen(cases[i].job), cases[i].record,
                                   strlen(cases[i].record), cases[i].data.at, cases[i].data.n);
      assert_int_equal(again.status, EXPORT_DONE);
      assert_int_equal(again.object.n, first.object.n);
      assert_memory_equal(again.object.at, first.object.at, first.object.n);
      free(again.object.at);
    }
    free(first.object.at), free(cases[i].job), free(cases[i].record);
  }
  free(file.at), free(samples.at);
}

/* ---- hostile input ---- */

static void job_cut_at_any_byte(void **state) {
  (void)state;
  char *j = job("measurement"), *text = canonical(golden("tests/captures/ieee11073_phdc/simulated-bp.json"));
  for (size_t n = 0; n < strlen(j); n += 5)
    refused(run_in(NULL, j, n, text, strlen(text), "", 0), "");
  for (size_t n = 0; n < strlen(text); n += 7)
    refused(run_in(NULL, j, strlen(j), text, n, "", 0), "");
  free(j), free(text);
}

/* Calls for every value inside, with what holds it: replaced one after the other by something else. */
static const char *const others[] = {"null", "1", "1000000000", "\"x\"", "[]", "{}"};

static json_t *other(size_t i) {
  return json_loads(others[i], JSON_DECODE_ANY, NULL);
}

typedef void (*try_it)(json_t *whole, void *context);

static void each_replaced(json_t *whole, json_t *at, try_it try, void *context) {
  if (json_is_object(at)) {
    const char *key;
    json_t *item;
    void *next;
    json_object_foreach_safe(at, next, key, item) {
      json_t *kept = json_incref(item);
      for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        json_t *o = other(i);
        if (json_is_null(o) && json_is_null(kept)) {
          json_decref(o);
          continue;
        }
        json_object_set_new(at, key, o);
        try(whole, context);
      }
      json_object_set(at, key, kept);
      each_replaced(whole, kept, try, context);
      json_decref(kept);
    }
  } else if (json_is_array(at))
    for (size_t k = 0; k < json_array_size(at) && k < 2; k++) {
      json_t *kept = json_incref(json_array_get(at, k));
      for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        json_array_set_new(at, k, other(i));
        try(whole, context);
      }
      json_array_set(at, k, kept);
      each_replaced(whole, kept, try, context);
      json_decref(kept);
    }
}

struct hostile {
  const char *job, *record;
  struct bytes data;
  size_t refused, passed;
};

/* Refused with a reason, or an object that our judge lets pass; nothing else. */
static void judge(struct hostile *h, struct result r) {
  char reason[256];
  if (r.status == EXPORT_DONE) {
    if (!check_object(r.object.at, r.object.n, reason))
      fail_msg("an object that breaks its limits: %s", reason);
    free(r.object.at);
    h->passed++;
  } else {
    refused(r, "");
    h->refused++;
  }
}

static void try_record(json_t *record, void *context) {
  struct hostile *h = context;
  char *text = json_canonical(record, NULL);
  judge(h, run(h->job, text, h->data.at, h->data.n));
  free(text);
}

static void try_job(json_t *j, void *context) {
  struct hostile *h = context;
  char *text = json_canonical(j, NULL);
  judge(h, run(text, h->record, h->data.at, h->data.n));
  free(text);
}

static void wrong_types_in_records(void **state) {
  (void)state;
  json_t *record = golden(ECG_GOLDEN);
  struct hostile h = {.job = job("ecg"), .data = fill(record, 10)};
  each_replaced(record, record, try_record, &h);
  assert_true(h.refused > 50);
  free(h.data.at), free((void *)(uintptr_t)h.job);
  json_decref(record);

  struct bytes file = jpeg(YCC420);
  record = fundus_record(file, "jpeg", WIDTH, HEIGHT);
  h = (struct hostile){.job = job("fundus"), .data = file};
  each_replaced(record, record, try_record, &h);
  assert_true(h.refused > 20);
  free(h.data.at), free((void *)(uintptr_t)h.job);
  json_decref(record);

  record = golden("tests/captures/ieee11073_phdc/simulated-bp.json");
  h = (struct hostile){.job = job("measurement"), .data = {(uint8_t *)"", 0}};
  each_replaced(record, record, try_record, &h);
  assert_true(h.refused > 20);
  free((void *)(uintptr_t)h.job);
  json_decref(record);
}

static void wrong_types_in_jobs(void **state) {
  (void)state;
  struct bytes file = jpeg(YCC420);
  char *record = canonical(fundus_record(file, "jpeg", WIDTH, HEIGHT));
  struct hostile h = {.record = record, .data = file};
  json_t *j = job_json("fundus");
  each_replaced(j, j, try_job, &h);
  assert_true(h.refused > 150);
  /* A text may be another text, a flag another flag, a number another number: nothing else is taken. */
  assert_true(h.passed < 40);

  /* A member too many, at every place. */
  static const char *const places[] = {"fundus", "instance", "parts", "patient", "series", "study", NULL};
  for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
    json_t *at = places[i] ? json_object_get(j, places[i]) : j;
    json_object_set_new(at, "more", json_true());
    char *text = json_canonical(j, NULL);
    refused(run(text, record, file.at, file.n), "the job");
    json_object_del(at, "more");
    free(text);
  }
  json_decref(j);
  free(record), free(file.at);
}

static void hostile_values_in_jobs(void **state) {
  (void)state;
  static const struct {
    const char *in, *key, *value;
  } cases[] = {{"study", "uid", "1.2.03"},
               {"study", "uid", "1..2"},
               {"study", "uid", "1.2."},
               {"study", "uid", ".1.2"},
               {"study", "uid", "1.2.a"},
               {"study", "uid", "1.2\\1.3"},
               {"study", "uid", "2.25.329800735698586629295641978511506172917"}, /* the series' */
               {"series", "uid", "1.22222222222222222222222222222222222222222222222222222222222222"},
               {"study", "id", "S-12345678901234567"},
               {"study", "id", "S\\1"},
               {"study", "ordered", "yesterday"},
               {"patient", "birth_date", "1960-02-30"},
               {"patient", "sex", "X"},
               {"patient", "id", ""},
               {"patient", "id", "12345678901234567890123456789012345678901234567890123456789012345"},
               {"patient", "id", "a\\b"},
               {"fundus", "laterality", "B"},
               {"fundus", "field", "nose"},
               {NULL, "act", "ecg"},
               {NULL, "act", "poem"},
               {NULL, "height_cm", "1685"},
               {NULL, "height_cm", "1.6e2"},
               {NULL, "schema", "asaleed-export-2"}};
  struct bytes file = jpeg(YCC420);
  char *record = canonical(fundus_record(file, "jpeg", WIDTH, HEIGHT));
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    json_t *j = job_json("fundus");
    json_object_set_new(cases[i].in ? json_object_get(j, cases[i].in) : j, cases[i].key, json_string(cases[i].value));
    char *text = canonical(j);
    struct result r = run(text, record, file.at, file.n);
    if (*cases[i].value && strlen(cases[i].value) > 4)
      assert_null(strstr(r.said, cases[i].value)); /* nothing of a job is logged */
    refused(r, "the job");
    free(text);
  }
  free(record), free(file.at);
}

static void huge_claims(void **state) {
  (void)state;
  static const struct {
    const char *key;
    json_int_t value;
  } cases[] = {{"samples", 1000000000}, {"samples", INT64_MAX}, {"first", 1000000000}, {"samples", 11}, {"first", -1}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    json_t *record = golden(ECG_GOLDEN);
    struct bytes data = fill(record, 10);
    json_t *c = json_array_get(json_object_get(acquired_of(record), "channels"), 11);
    json_object_set_new(c, cases[i].key, json_integer(cases[i].value));
    refused(run_ecg(record, data), "");
  }
  json_t *record = golden(ECG_GOLDEN);
  struct bytes data = fill(record, 10);
  data.n -= 2;
  refused(run_ecg(record, data), "");
}

/* ---- the judge ---- */

static struct result photograph(void) {
  struct bytes file = jpeg(YCC420);
  struct result r = run_fundus(file, "jpeg", WIDTH, HEIGHT);
  free(file.at);
  assert_int_equal(r.status, EXPORT_DONE);
  return r;
}

static void judge_refuses(struct bytes object, const char *why) {
  char reason[256] = "";
  if (check_object(object.at, object.n, reason) || !strstr(reason, why))
    fail_msg("\"%s\", should have been \"%s\"", reason, why);
}

/* Puts bytes in the place of others of the same length, wherever they are. */
static void replace(struct bytes b, const void *from, const void *to, size_t n) {
  size_t found = 0;
  for (uint8_t *at = b.at; (at = memmem(at, b.n - (size_t)(at - b.at), from, n)); found++)
    memcpy(at, to, n);
  assert_true(found > 0);
}

static void judge_knows_the_limits(void **state) {
  (void)state;
  json_t *record = golden(ECG_GOLDEN), *channels = json_object_get(acquired_of(record), "channels");
  for (size_t i = 0; i < 12; i++)
    json_array_append_new(channels, json_deep_copy(json_array_get(channels, i)));
  struct bytes data = fill(record, 50);
  struct result r = run_ecg(record, data);
  replace(r.object, GENERAL, TWELVE, strlen(TWELVE)); /* 24 channels: what validators let pass */
  judge_refuses(r.object, "number of channels");
  free(r.object.at);

  static const struct {
    const char *from, *to;
    size_t n;
    const char *why;
  } ecg[] = {{"\x20\x00\x13\x00IS", "\x20\x00\x60\x00IS", 6, "laterality"},
             {"\x3A\x00\x1A\x00"
              "DS\4\000500 ",
              "\x3A\x00\x1A\x00"
              "DS\4\000100 ",
              12, "frequency"},
             {"\x00\x54\x06\x10"
              "CS\2\000SS",
              "\x00\x54\x06\x10"
              "CS\2\000US",
              10, "signed"},
             {"\x3A\x00\x10\x00UL\4\000\x32", "\x3A\x00\x10\x00UL\4\000\x31", 9, "not as long"},
             {"2.25.329800735698586629295641978511506172917", "2.25.029800735698586629295641978511506172917", 44,
              "UID"}},
    photo[] = {{"\x22\x00\x0D\x00"
                "CS\4\000YES ",
                "\x22\x00\x0D\x00"
                "CS\4\000NO  ",
                12, "dilated"},
               {"\x20\x00\x62\x00"
                "CS\2\000R ",
                "\x20\x00\x62\x00"
                "CS\2\000X ",
                10, "eye"},
               {"\x28\x00\x10\x00US\2\000\x2B", "\x28\x00\x10\x00US\2\000\x2C", 9, "not the JPEG's"},
               {"\xFF\xD9", "\xFF\xD8", 2, "from its first"},
               {"\xFF\xD8\xFF", "\xFF\xD7\xFF", 3, "from its first"},
               {"\x28\x00\x01\x03", "\x28\x00\x02\x03", 4, "writing"}};
  for (size_t i = 0; i < sizeof ecg / sizeof *ecg; i++) {
    record = golden(ECG_GOLDEN);
    data = fill(record, 50);
    r = run_ecg(record, data);
    replace(r.object, ecg[i].from, ecg[i].to, ecg[i].n);
    judge_refuses(r.object, ecg[i].why);
    free(r.object.at);
  }
  for (size_t i = 0; i < sizeof photo / sizeof *photo; i++) {
    r = photograph();
    replace(r.object, photo[i].from, photo[i].to, photo[i].n);
    judge_refuses(r.object, photo[i].why);
    free(r.object.at);
  }
}

static void judge_survives_anything(void **state) {
  (void)state;
  struct result r = photograph();
  char reason[256];
  for (size_t n = 0; n < r.object.n; n++) {
    struct bytes cut = {malloc(n + 1), n};
    memcpy(cut.at, r.object.at, n);
    assert_false(check_object(cut.at, n, reason));
    free(cut.at);
  }
  for (size_t i = 128; i < r.object.n; i++)
    for (unsigned bit = 0; bit < 8; bit++) {
      r.object.at[i] ^= (uint8_t)(1u << bit);
      check_object(r.object.at, r.object.n, reason);
      r.object.at[i] ^= (uint8_t)(1u << bit);
    }
  assert_true(check_object(r.object.at, r.object.n, reason));
  free(r.object.at);
}

static void uids(void **state) {
  (void)state;
  static const char *const right[] = {"1",      "0",
                                      "1.2",    "1.0.3",
                                      "2.25.0", "1.2.345678901234567890123456789012345678901234567890123456789012"},
                           *const wrong[] = {"",
                                             ".",
                                             "1.",
                                             ".1",
                                             "1..2",
                                             "01",
                                             "1.00",
                                             "1.02",
                                             "1.2 ",
                                             "a",
                                             "1.2.3456789012345678901234567890123456789012"
                                             "345678901234567890123"};
  for (size_t i = 0; i < sizeof right / sizeof *right; i++)
    assert_true(check_uid(right[i], strlen(right[i])));
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
    assert_false(check_uid(wrong[i], strlen(wrong[i])));
}

/* ---- the program itself ---- */

static void commands(void **state) {
  (void)state;
  struct result r = photograph();
  char good_path[128], bad_path[128], command[1024];
  int status;
  save(r.object, "good.dcm", good_path);
  r.object.n--;
  save(r.object, "bad.dcm", bad_path);
  const struct {
    const char *arguments;
    int status;
    const char *says;
  } cases[] = {{"", EXPORT_USAGE, "usage"},
               {"encode more", EXPORT_USAGE, "usage"},
               {"check", EXPORT_USAGE, "usage"},
               {"--help", 0, "check"},
               {"--version", 0, "asaleed-export "},
               {"encode", EXPORT_USAGE, "only asaleed"},
               {"encode 3</dev/null 4</dev/null 5</dev/null 6>/dev/null", EXPORT_USAGE, "not an empty file"},
               {"encode 3</dev/null 4</dev/null 5</dev/null 6</etc/passwd", EXPORT_USAGE, "not an empty file"},
               {"check /nowhere", EXPORT_FAILED, "/nowhere"},
               {"check /dev/null", EXPORT_REFUSED, "not a DICOM file"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    snprintf(command, sizeof command, "exec 3<&- 4<&- 5<&- 6<&- 2>&1; %s %s", program, cases[i].arguments);
    char *said = shell(command, &status);
    if (status != cases[i].status || !strstr(said, cases[i].says))
      fail_msg("\"%s\": %d, %s", cases[i].arguments, status, said);
    free(said);
  }
  snprintf(command, sizeof command, "%s check %s %s 2>&1", program, good_path, bad_path);
  char *said = shell(command, &status);
  assert_int_equal(status, EXPORT_REFUSED);
  assert_null(strstr(said, "good.dcm"));
  assert_non_null(strstr(said, "bad.dcm"));
  free(said);
  snprintf(command, sizeof command, "%s check %s 2>&1", program, good_path);
  said = shell(command, &status);
  assert_int_equal(status, 0);
  assert_string_equal(said, "");
  free(said);
  free(r.object.at);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(ecg_of_twelve_leads),
                                     cmocka_unit_test(ecg_limits),
                                     cmocka_unit_test(ecg_of_one_unspecified_lead),
                                     cmocka_unit_test(ecg_gaps),
                                     cmocka_unit_test(sentence_refers_to_its_lead),
                                     cmocka_unit_test(jpeg_is_kept_less_what_is_beside),
                                     cmocka_unit_test(jpeg_has_no_segment_of_another_kind),
                                     cmocka_unit_test(progressive_becomes_baseline_without_loss),
                                     cmocka_unit_test(native_pixels),
                                     cmocka_unit_test(pictures_that_have_no_place),
                                     cmocka_unit_test(picture_cut_at_any_byte),
                                     cmocka_unit_test(picture_that_is_not_the_records),
                                     cmocka_unit_test(dilation),
                                     cmocka_unit_test(every_golden_record),
                                     cmocka_unit_test(every_golden_picture),
                                     cmocka_unit_test(real_pictures),
                                     cmocka_unit_test(measured_values),
                                     cmocka_unit_test(parts),
                                     cmocka_unit_test(long_statements_are_whole),
                                     cmocka_unit_test(awkward_names),
                                     cmocka_unit_test(same_bytes),
                                     cmocka_unit_test(job_cut_at_any_byte),
                                     cmocka_unit_test(wrong_types_in_records),
                                     cmocka_unit_test(wrong_types_in_jobs),
                                     cmocka_unit_test(hostile_values_in_jobs),
                                     cmocka_unit_test(huge_claims),
                                     cmocka_unit_test(judge_knows_the_limits),
                                     cmocka_unit_test(judge_survives_anything),
                                     cmocka_unit_test(uids),
                                     cmocka_unit_test(commands)};
  char *slash;
  ssize_t n = readlink("/proc/self/exe", program, sizeof program - 32);
  snprintf(folder, sizeof folder, "/tmp/test_export.XXXXXX");
  if (n < 0 || !mkdtemp(folder) || hash_open() < 0)
    return 1;
  program[n] = 0;
  for (int i = 0; i < 2; i++) { /* build/tests/test_export -> build/ */
    slash = strrchr(program, '/');
    *slash = 0;
  }
  strcat(program, "/asaleed-export");
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  static const char *const left[] = {"object.dcm", "ecg.dcm", "good.dcm", "bad.dcm", "picture.tif"};
  for (size_t i = 0; i < sizeof left / sizeof *left; i++) {
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, left[i]);
    unlink(path);
  }
  rmdir(folder);
  return failed;
}
