#include "pixels.h"

#include <errno.h>
#include <setjmp.h>
#include <stdio.h> /* jpeglib.h needs it */
#include <stdlib.h>

#include <jpeglib.h>

#include <jerror.h>

/* All coefficients are in memory at once, two bytes each. */
#define PIXELS_MAX (80u << 20)

struct trouble {
  struct jpeg_error_mgr manager; /* first: the library hands it back */
  jmp_buf back;
};

static void leap(j_common_ptr info) {
  longjmp(((struct trouble *)info->err)->back, 1);
}

/* A warning means that the library made something up for what it could not read. */
static void message(j_common_ptr info, int level) {
  if (level < 0)
    leap(info);
}

struct job {
  struct trouble trouble;
  struct jpeg_decompress_struct in;
  struct jpeg_compress_struct out;
  unsigned char *made;
  unsigned long n_made;
  const char *volatile why;
};

static int transcode(struct job *job, const uint8_t *file, size_t n) {
  if (setjmp(job->trouble.back))
    return job->trouble.manager.msg_code == JERR_OUT_OF_MEMORY ? -ENOMEM : -EPROTO;
  jpeg_create_decompress(&job->in);
  jpeg_create_compress(&job->out);
  job->why = "a damaged JPEG picture";
  jpeg_mem_src(&job->in, file, n);
  jpeg_read_header(&job->in, TRUE);
  if (job->in.data_precision != 8 || job->in.num_components > 3 ||
      (uint64_t)job->in.image_width * job->in.image_height > PIXELS_MAX) {
    job->why = "a JPEG picture with more bits, components or points than an 8-bit object takes";
    return -EPROTO;
  }
  jvirt_barray_ptr *coefficients = jpeg_read_coefficients(&job->in);
  jpeg_mem_dest(&job->out, &job->made, &job->n_made);
  jpeg_copy_critical_parameters(&job->in, &job->out);
  jpeg_write_coefficients(&job->out, coefficients);
  jpeg_finish_compress(&job->out);
  jpeg_finish_decompress(&job->in);
  return 0;
}

int pixels_jpeg_baseline(const uint8_t *file, size_t n, uint8_t **ret, size_t *ret_n, const char **ret_why) {
  struct job *job = calloc(1, sizeof *job);
  if (!job)
    return -ENOMEM;
  job->in.err = job->out.err = jpeg_std_error(&job->trouble.manager);
  job->trouble.manager.error_exit = leap;
  job->trouble.manager.emit_message = message;
  int r = transcode(job, file, n);
  if (r == 0) {
    *ret = job->made;
    *ret_n = job->n_made;
    job->made = NULL;
  } else
    *ret_why = job->why;
  jpeg_destroy_compress(&job->out);
  jpeg_destroy_decompress(&job->in);
  free(job->made);
  free(job);
  return r;
}
