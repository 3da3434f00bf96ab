/* The acquire side of the driver ABI, closed: decode() is pure, so reaching one of these is a bug. */
#include <asalee/driver.h>
#include <stdlib.h>

int acq_read(struct acq_io *io, void *bytes, size_t n, unsigned ms) {
  (void)io, (void)bytes, (void)n, (void)ms;
  abort();
}

int acq_read_some(struct acq_io *io, void *bytes, size_t max, unsigned ms) {
  (void)io, (void)bytes, (void)max, (void)ms;
  abort();
}

int acq_read_until(struct acq_io *io, uint8_t last, void *bytes, size_t max, unsigned ms) {
  (void)io, (void)last, (void)bytes, (void)max, (void)ms;
  abort();
}

int acq_write(struct acq_io *io, const void *bytes, size_t n, unsigned ms) {
  (void)io, (void)bytes, (void)n, (void)ms;
  abort();
}

int acq_usb_control(struct acq_io *io, uint8_t request_type, uint8_t request, uint16_t value, uint16_t index,
                    void *bytes, uint16_t n, unsigned ms) {
  (void)io, (void)request_type, (void)request, (void)value, (void)index, (void)bytes, (void)n, (void)ms;
  abort();
}

int acq_usb_interrupt(struct acq_io *io, void *bytes, size_t max, unsigned ms) {
  (void)io, (void)bytes, (void)max, (void)ms;
  abort();
}

int acq_blob(struct acq_io *io, uint64_t n, uint32_t share, unsigned ms) {
  (void)io, (void)n, (void)share, (void)ms;
  abort();
}

int acq_blob_end(struct acq_io *io) {
  (void)io;
  abort();
}

int acq_blob_drop(struct acq_io *io) {
  (void)io;
  abort();
}

bool acq_finishing(struct acq_io *io) {
  (void)io;
  abort();
}

uint64_t acq_elapsed_ms(struct acq_io *io) {
  (void)io;
  abort();
}

void acq_progress(struct acq_io *io, uint32_t done, uint32_t total) {
  (void)io, (void)done, (void)total;
  abort();
}

void acq_preview(struct acq_io *io, const struct acq_preview *preview) {
  (void)io, (void)preview;
  abort();
}

void acq_preview_picture(struct acq_io *io, unsigned number, const void *jpeg, size_t n) {
  (void)io, (void)number, (void)jpeg, (void)n;
  abort();
}

void acq_contacts(struct acq_io *io, uint32_t known, uint32_t on) {
  (void)io, (void)known, (void)on;
  abort();
}

int acq_fail(struct acq_io *io, int err, const char *format, ...) {
  (void)io, (void)err, (void)format;
  abort();
}
