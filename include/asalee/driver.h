/* The driver ABI. A driver is one folder under drivers/ and one line in drivers/table.c.
 *
 * Everything is synchronous. A function returns 0 or a count, else a negative errno. A driver never allocates, never
 * logs, never opens anything, and owns nothing that outlives a call, except what identify(), acquire() and release()
 * of one conversation share: static memory that identify() makes anew (a process runs one conversation): the worker
 * process (drivers/worker) holds the one device node, records every byte below acq_read/acq_write, and is sandboxed
 * before identify() runs.
 *
 * Errors a driver returns (the daemon turns each into a code and a French sentence, config/messages.fr):
 *   -EPROTO     a frame or an answer that the protocol does not allow
 *   -EBADMSG    a checksum that does not match, after the repeats the protocol allows
 *   -ERANGE     a value that cannot be
 *   -ENODATA    the instrument answers and has no result
 *   -ENXIO      something answers, but it is not this instrument; a file that is not in this format
 *   -EIO        the instrument reports a fault of its own (self-test)
 *   -ETIMEDOUT  silence until the deadline
 *   -ENODEV     unplugged
 *   -ECANCELED  the nurse cancelled; comes from acq_read/acq_write, a driver only passes it on
 */
#ifndef ASALEE_DRIVER_H
#define ASALEE_DRIVER_H

#include <asalee/bytes.h>
#include <asalee/dec.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ACQ_DRIVER_ABI 4

enum acq_modality { ACQ_ECG = 1, ACQ_SPIROMETRY, ACQ_FUNDUS, ACQ_MEASUREMENT };
#define ACQ_MODALITY(m) (1u << (m)) /* a driver's modalities are a set of these */

/* How far the driver has been tried. Simulated: the beginnings of one. Experimental: written for the instrument from
 * its protocol, tried on simulators or on recorded bytes, never on the instrument; its README says on what. Verified:
 * on the instrument itself. */
enum acq_maturity { ACQ_SIMULATED = 1, ACQ_EXPERIMENTAL, ACQ_VERIFIED };

/* The weakest check that every byte of a reading went through on the wire. */
enum acq_integrity { ACQ_NONE = 1, ACQ_SUM8, ACQ_CRC16, ACQ_CRC32 };

enum acq_bus { ACQ_SERIAL = 1, ACQ_USB, ACQ_FILE };

enum acq_parity { ACQ_PARITY_NONE, ACQ_PARITY_EVEN, ACQ_PARITY_ODD };

/* One way to find the instrument. A table of these ends with bus = 0.
 * A USB match with ids names a device that needs no configuration. A serial match gives the line settings; its ids,
 * when they are those of a general UART bridge, only suggest: devices.d must bind the adapter (generic = true). */
struct acq_match {
  enum acq_bus bus;
  uint16_t vendor, product; /* USB ids, 0 = any */
  uint8_t usb_class;        /* USB interface class, 0 = any */
  bool generic;             /* the ids are a bridge's, not the instrument's */
  uint32_t baud;            /* serial: bit/s, 8 data bits, 1 stop bit */
  enum acq_parity parity;
  const char *pattern; /* file: a shell pattern of file names, in which upper and lower case are the same */
  bool flat;           /* file: what asaleed-export decode makes of it is read, not the file itself (flat.h) */
};

struct acq_limits {
  uint32_t max_bytes;   /* received in one acquisition, refused beyond (-EFBIG) */
  uint32_t max_seconds; /* the longest order */
  uint32_t default_seconds;
  uint32_t idle_ms;  /* the longest silence while the instrument is expected to speak */
  uint32_t grace_ms; /* identify, set-up and release together, on top of the ordered seconds */
};

#define ACQ_TEXT_MAX 64

/* What the instrument says of itself; "" where it says nothing. UTF-8, no controls. `sensor` is the serial number of an
 * exchangeable sensor (a spirometer's flow head). */
struct acq_identity {
  char make[ACQ_TEXT_MAX], model[ACQ_TEXT_MAX], serial[ACQ_TEXT_MAX], firmware[ACQ_TEXT_MAX], sensor[ACQ_TEXT_MAX];
};

/* When a spirometry is done: without a bronchodilator in question, before it, after it. */
enum acq_phase { ACQ_NO_PHASE, ACQ_BASELINE, ACQ_PRE, ACQ_POST };

struct acq_order {
  uint32_t seconds;           /* of signal, or to wait for the reading; 1..limits.max_seconds */
  int64_t started_us;         /* host's wall clock at the start, microseconds since 1970 UTC */
  int16_t offset_minutes;     /* local time minus UTC then */
  enum acq_modality modality; /* what the order is for: an instrument of several kinds is the wrong one for others;
                                 0: a file that came without an order, all of it belongs to nobody yet */
  enum acq_phase phase;       /* of a spirometry */
  uint16_t pictures;          /* of a retinography: how many are wanted; 0 = until acq_finishing() or the time is up */
};

/* A clock on the wall: local time, as instruments show and keep it. */
struct acq_clock {
  int year, month, day, hour, minute, second, ms; /* 1970..2999, 1..12, 1..31, 0..23, 0..59, 0..59, 0..999 */
};

/* Microseconds since 1970-01-01 00:00 of that same clock. -ERANGE for a date or time that is none; *ret untouched. */
int acq_clock_to_us(const struct acq_clock *clock, int64_t *ret);
/* The other way; for times from 1970 to 2999. */
struct acq_clock acq_clock_from_us(int64_t us);
/* The host's own local time, ms milliseconds after the order's start, on the same scale: what an instrument's clock is
 * set by and compared with. */
int64_t acq_order_clock_us(const struct acq_order *order, uint64_t ms);

/* ---- the acquire side ------------------------------------------------------------------------------------- */

struct acq_io;

/* Reads exactly n bytes, or fails: -ETIMEDOUT when they have not all come within ms milliseconds. */
int acq_read(struct acq_io *io, void *bytes, size_t n, unsigned ms);
/* Reads 1..max bytes, as soon as there is one; returns how many. */
int acq_read_some(struct acq_io *io, void *bytes, size_t max, unsigned ms);
/* Reads up to and including the byte `last`; returns how many. -EPROTO when it is not among the first max. */
int acq_read_until(struct acq_io *io, uint8_t last, void *bytes, size_t max, unsigned ms);
/* Writes all n bytes within ms milliseconds; returns 0. */
int acq_write(struct acq_io *io, const void *bytes, size_t n, unsigned ms);
/* A USB control transfer as USB 2.0, 9.3 names its fields; returns the bytes moved. -EPIPE when stalled,
 * -EOPNOTSUPP where the transport is not USB. */
int acq_usb_control(struct acq_io *io, uint8_t request_type, uint8_t request, uint16_t value, uint16_t index,
                    void *bytes, uint16_t n, unsigned ms);

/* One packet from the device's interrupt IN endpoint: 1..max bytes; returns how many. -ETIMEDOUT when none comes within
 * ms milliseconds, -EOPNOTSUPP where there is no such endpoint. */
int acq_usb_interrupt(struct acq_io *io, void *bytes, size_t max, unsigned ms);

/* A blob: a file that the instrument hands over (a picture), too large for the driver's memory and of no interest to
 * it. acq_blob() receives the next n bytes of the stream into the blob that is being made; a blob may come in several
 * parts, with other reads and writes in between. Each ms milliseconds something must come (-ETIMEDOUT). -EPROTO when
 * the instrument ends its transfer before n bytes (USB: a short packet): what came is in the blob. While it runs, the
 * progress (acq_progress) goes from `done` to `done + share`.
 * acq_blob_end() says that the blob is whole: the capture then names it by its SHA-256. What acq_blob() failed in stays
 * in the blob, and the driver decides: a file may go on in another part, or acq_blob_drop() says that what there is of
 * it is waste (the capture keeps the bytes all the same). A blob of no bytes is none: its end is no event.
 * More than fits (max_bytes, and the bounds below) is refused before a byte of it is received: -EFBIG. What was
 * received together with what the driver has read begins the blob; not after a control transfer that brought an answer
 * in between (-EINVAL). */
int acq_blob(struct acq_io *io, uint64_t n, uint32_t share, unsigned ms);
int acq_blob_end(struct acq_io *io);
int acq_blob_drop(struct acq_io *io);
#define ACQ_BLOB_MAX (64u << 20)         /* bytes of one blob; -EFBIG beyond */
#define ACQ_BLOBS_BYTES_MAX (384u << 20) /* of all blobs of an acquisition; -EFBIG beyond */

/* The nurse says that she has made all there will be: the driver takes what is still to be taken, and ends. Costs
 * nothing; to be asked between waits of at most a second. */
bool acq_finishing(struct acq_io *io);

/* Milliseconds since the worker opened the node; replayed from the capture's times. For deadlines of a whole
 * exchange; single reads have their own. */
uint64_t acq_elapsed_ms(struct acq_io *io);

/* How far the acquisition is: done of total, in any unit. */
void acq_progress(struct acq_io *io, uint32_t done, uint32_t total);

#define ACQ_PREVIEW_CHANNELS 16
#define ACQ_PREVIEW_SAMPLES 64

/* Samples as they arrive, for the nurse to see a trace: a technical picture, never a conclusion. */
struct acq_preview {
  unsigned channels, samples;                  /* 1..ACQ_PREVIEW_CHANNELS, 1..ACQ_PREVIEW_SAMPLES of each */
  uint32_t first;                              /* index of the first sample in the recording */
  uint32_t rate_hz;                            /* sampling rate */
  struct dec scale;                            /* unit per step */
  const char *code[ACQ_PREVIEW_CHANNELS];      /* nomenclature.def */
  const int16_t *values[ACQ_PREVIEW_CHANNELS]; /* ACQ_GAP marks a missing sample */
};
void acq_preview(struct acq_io *io, const struct acq_preview *preview);

/* A small JPEG (a camera's thumbnail) of the picture that comes next, for the nurse to see that it arrives: at most
 * ACQ_THUMBNAIL_MAX bytes. What cannot be shown is not. `number` counts the pictures of this acquisition from 1. */
void acq_preview_picture(struct acq_io *io, unsigned number, const void *jpeg, size_t n);
#define ACQ_THUMBNAIL_MAX 65536

/* Which electrodes touch the skin: bit i of `on` is the electrode i of nomenclature.def's ACQ_ELECTRODES,
 * `known` says which of them the instrument reports. Send on change. */
void acq_contacts(struct acq_io *io, uint32_t known, uint32_t on);

/* Keeps a short English reason beside the error and returns err: "return acq_fail(io, -EPROTO, "...");" */
int acq_fail(struct acq_io *io, int err, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* ---- the decode side -------------------------------------------------------------------------------------- */

struct acq_capture; /* what was said on the wire, in order */
struct acq_record;  /* the record being built */

/* ACQ_INTERRUPT: a packet of acq_usb_interrupt(). ACQ_BLOB: what one acq_blob() received, in its place in the stream.
 * ACQ_BLOB_WHOLE: acq_blob_end() was called here; its bytes are the whole blob. ACQ_BLOB_WASTE: likewise, a blob that
 * was dropped or never ended. */
enum acq_event_kind {
  ACQ_RECEIVED = '<',
  ACQ_SENT = '>',
  ACQ_NOTE = '!',
  ACQ_INTERRUPT = '^',
  ACQ_BLOB = '@',
  ACQ_BLOB_WHOLE = '#',
  ACQ_BLOB_WASTE = '~'
};

struct acq_event {
  enum acq_event_kind kind;
  uint32_t ms; /* since the start */
  const uint8_t *bytes;
  size_t n;
};

/* The i-th event; false past the last. Bytes belong to the capture. A note's bytes are its text. */
bool acq_capture_event(const struct acq_capture *capture, size_t i, struct acq_event *ret);
/* Everything received but blobs and interrupts, as one stream. */
struct acq_cur acq_capture_received(const struct acq_capture *capture);
/* The whole file of a driver that takes it whole (struct acq_driver), from its first byte, and its event for
 * acq_rec_picture() where ret_event is not NULL. -ENODATA when it did not come whole. */
int acq_capture_file(const struct acq_capture *capture, struct acq_cur *ret, size_t *ret_event);
/* What identify() returned when this was captured; all "" for bare bytes. */
const struct acq_identity *acq_capture_identity(const struct acq_capture *capture);

/* The order it was captured for. */
const struct acq_order *acq_capture_order(const struct acq_capture *capture);

/* What a file says of the instrument that made it: once, at any time; only where identify() could not ask. */
void acq_rec_instrument(struct acq_record *record, const struct acq_identity *identity);

#define ACQ_NAME_MAX 256

/* Whose reading a file says it is, as it says it: UTF-8 without controls, "" where it says nothing. */
struct acq_subject {
  char family[ACQ_NAME_MAX], given[ACQ_NAME_MAX]; /* both in `family` where the format has one name only */
  char id[ACQ_NAME_MAX];
  char birth_date[11]; /* YYYY-MM-DD */
  char sex;            /* 'F', 'M'; 0 where it says neither */
};
/* Once, at any time. The core compares it with the patient of the order; it never makes one. */
void acq_rec_subject(struct acq_record *record, const struct acq_subject *subject);

#define ACQ_GAP INT16_MIN /* the value of a sample that was never received */

/* What the reading is, for a driver of several modalities: once, any time. A driver of one need not say. */
void acq_rec_modality(struct acq_record *record, enum acq_modality modality);

/* A trial: one blow of a spirometry, one weighing; whatever the instrument counts as one result. */
struct acq_trial {
  enum acq_phase phase; /* as the instrument says; ACQ_NO_PHASE = the order's */
  bool timed;           /* the instrument says when it was made: */
  int64_t clock_us;     /*   by its own clock (acq_clock_to_us), */
  int64_t slow_us;      /*   which was this much behind the host's when they were compared, 0 if they never were */
  bool compared;        /*   they were, or the host set it */
};

#define ACQ_TRIALS_MAX 999

/* What follows (measures, channels, quality) belongs to a new trial, the next in number from 1, until the next such
 * call. NULL: to the whole session, as before the first call. A timed trial that was not made while this acquisition
 * ran (5 s' grace before it, two minutes after it; two minutes before it too where the clocks were never compared, and
 * then the nurse is asked whether it is this patient's) is not this patient's: it and all that belongs to it goes into
 * a record of its own that waits for people. Drivers just tell; the core decides. Returns its number; 0 for NULL or
 * after an error.
 */
unsigned acq_rec_trial(struct acq_record *record, const struct acq_trial *trial);

/* A measured value. `code` is a row of nomenclature.def; `unit` a unit of that row (record.h, unit_convert), NULL = the
 * row's own. A unit that is a power of ten away is converted exactly, another is kept as it came. A value outside the
 * hard range fails the record (-ERANGE); outside the soft range it is kept and flagged. A row of kind S (predicted
 * values, personal bests) becomes a statement. */
void acq_rec_measure(struct acq_record *record, const char *code, struct dec value, const char *unit);

/* A new channel of 16-bit samples; value = sample x scale, in the code's unit. `derived` = computed from other
 * channels, not measured. rate_hz 0: sampled at the instants that the same trial's channel time_step gives (seconds
 * since the sample before; 0 for the first). Returns its index for the calls below. */
unsigned acq_rec_channel(struct acq_record *record, const char *code, struct dec rate_hz, struct dec scale,
                         bool derived);
void acq_rec_samples(struct acq_record *record, unsigned channel, const int16_t *values, size_t n);
/* n samples are missing here: they take their place as ACQ_GAP and are listed as a gap. */
void acq_rec_gap(struct acq_record *record, unsigned channel, size_t n);

/* A picture: the blob of the capture's event i (ACQ_BLOB_WHOLE), byte for byte. The core reads its structure (format,
 * size, what EXIF says) and judges its technical quality; a picture that is damaged is kept and flagged. `name` is the
 * file's name as the instrument gives it, or "": only the reader sees it. Call acq_rec_trial() before each: the time of
 * a trial is the picture's. */
void acq_rec_picture(struct acq_record *record, size_t i, const char *name);
/* Which eye the instrument says the picture added last is of: 'L' or 'R'; neither, once it said both of the same
 * picture. The nurse labels it all the same. */
void acq_rec_laterality(struct acq_record *record, char laterality);
#define ACQ_PICTURES_MAX 32

/* Adds those limb leads (I, III, aVR, aVL, aVF) that are not there, measured or derived, and follow from two that are
 * measured, I and II or II and III, as derived channels: after the measured ones of the trial. The augmented ones have
 * half the scale, exactly. A lead of which one value or the scale would not fit is left out. */
void acq_rec_limb_leads(struct acq_record *record);

/* A technical fact about the recording: a row of nomenclature.def's ACQ_QUALITY, with what it is about (an
 * electrode, the code of a channel or measure, times and counts as "0,020 s à partir de 1,4 s", or "") and how often.
 * Shown to the nurse, so never a conclusion about the patient. */
void acq_rec_quality(struct acq_record *record, const char *code, const char *subject, uint32_t count);

/* The instrument's own interpretation or comment, UTF-8. Stored, masked for everyone but the reader. */
void acq_rec_statement(struct acq_record *record, const char *code, const char *text);

/* The error that any of the calls above met, or 0. decode() ends with "return acq_rec_done(record);". */
int acq_rec_done(struct acq_record *record);

/* Keeps a short English reason beside the error and returns err. */
int acq_rec_fail(struct acq_record *record, int err, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* ---- the driver ------------------------------------------------------------------------------------------- */

/* A driver of files (every match is ACQ_FILE) may leave identify, acquire and release out, all three: then the worker
 * takes the whole file as one blob, and decode() looks at it with acq_capture_file(). decode() gives -ENXIO at once for
 * a file that is not in its format: other formats may have the same file names. Its limits: max_bytes is the longest
 * file, seconds are how long an order waits for one. */
struct acq_driver {
  uint32_t abi;
  const char *name;    /* its folder */
  const char *version; /* raised whenever decode() may answer differently */
  const char *label;   /* what the nurse reads, French */
  unsigned modalities; /* ACQ_MODALITY(...) | ... */
  enum acq_maturity maturity;
  enum acq_integrity integrity;
  const struct acq_match *match;
  struct acq_limits limits;

  /* Asks the instrument who it is. -ENXIO when something else answers. */
  int (*identify)(struct acq_io *io, struct acq_identity *ret);
  /* The conversation that makes the reading. Returns 0 when the reading is whole. */
  int (*acquire)(struct acq_io *io, const struct acq_order *order);
  /* Puts the instrument back at rest; runs after success, failure and cancel, but not after an unplug. */
  int (*release)(struct acq_io *io);
  /* PURE: same capture, same record, whatever the time, place or locale. Must accept a capture cut anywhere. */
  int (*decode)(const struct acq_capture *capture, struct acq_record *ret);
};

extern const struct acq_driver *const acq_drivers[]; /* drivers/table.c; NULL ends it */

#endif
