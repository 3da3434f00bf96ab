/* Configuration: INI files ("key = value" under "[section]" or "[section name]", # or ; starts a comment line).
 * An unknown section or key, a duplicate key, or a value that does not fit is an error with its file and line. The keys
 * are told in config/asaleed.conf, config/devices.d/example.conf and config/protocols.d/diabete-type2.conf. */
#ifndef ASALEED_CONF_H
#define ASALEED_CONF_H

#include <asalee/driver.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONF_TEXT_MAX 256
#define CONF_PATH_MAX 512
#define CONF_DEVICES_MAX 64
#define CONF_PROTOCOLS_MAX 16
#define CONF_PROTOCOL_ID_MAX 31
#define CONF_FINESS_MAX 16

/* What happens to a spirometry when the spirometer's last verification with a syringe is too old, or failed. */
enum conf_calibration { CALIBRATION_OFF, CALIBRATION_WARN, CALIBRATION_REFUSE };

/* One instrument of the site: [device ID] in devices.d/NAME.conf. */
struct conf_device {
  char id[64];                    /* the section's name: letters, digits, - and _ */
  char driver[64];                /* asaleed-driver list names them */
  char label[CONF_TEXT_MAX];      /* what the nurse reads */
  char usb_serial[CONF_TEXT_MAX]; /* the adapter's USB serial number, or "" */
  char port[CONF_TEXT_MAX];       /* the USB port it hangs on, as "1-1.2" or udev's ID_PATH, or "" */
  char node[CONF_TEXT_MAX];       /* a tty that is no USB adapter, as /dev/rfcomm0 or /dev/ttyS0, or "" */
  char folder[CONF_TEXT_MAX];     /* of an instrument that leaves files: where, or "" */
  uint32_t folder_poll;           /* seconds between two looks at it */
  int stick;                      /* bool: on a USB stick (or the instrument itself is one), named by serial or port */
  int calibration;                /* enum conf_calibration, of a spirometer */
  uint32_t calibration_hours;     /* how long a verification holds */
  char where[CONF_PATH_MAX + 16]; /* file:line, for messages */
};

/* A view of a retinography that a protocol asks for: one field of one eye. */
struct conf_view {
  char laterality[2]; /* "L", "R" */
  char field[8];      /* "macula", "disc", "other" */
};
#define CONF_VIEWS_MAX 16

struct conf_views {
  struct conf_view list[CONF_VIEWS_MAX]; /* macula and disc at most once an eye */
  unsigned n;                            /* 1.. */
};

extern const struct conf_views conf_views_default; /* macula and disc of each eye */

bool conf_is_laterality(const char *text);
bool conf_is_field(const char *text);

/* Who interprets; what the nurse sees of a reading before it is signed, and of its interpretation after. */
enum conf_reader { CONF_READER_GP, CONF_READER_OPHTHALMOLOGIST };
enum conf_sees_before { CONF_SEES_QUALITY, CONF_SEES_ACQUIRED };
enum conf_sees_after { CONF_SEES_NOTHING, CONF_SEES_CONCLUSION, CONF_SEES_REPORT };

/* What a cooperation protocol says of one act: [act MODALITY] under its [protocol ID]. */
struct conf_act {
  unsigned line;                     /* of the section; 0 = the protocol does not name the act */
  int open;                          /* bool: the practice works under it; else it is as if not named */
  int prescribe, perform;            /* bool: the nurse may order it on her own; may acquire it */
  int reader;                        /* enum conf_reader */
  uint32_t delay_hours;              /* from acceptance to the time by which it is to be interpreted; 1.. when open */
  uint32_t recall_months;            /* until it is due again; 0 = never by itself */
  int sees_before, sees_after;       /* enum conf_sees_before, enum conf_sees_after */
  char authorisation[CONF_TEXT_MAX]; /* of this act alone, or ""; never "" for a fundus act that is open */
  struct conf_views views;           /* of a retinography; n = 0 for the other acts */
};

/* One cooperation protocol: [protocol ID] in protocols.d/NAME.conf. */
struct conf_protocol {
  char id[CONF_PROTOCOL_ID_MAX + 1];         /* lower-case letters, digits and - */
  char label[CONF_TEXT_MAX];                 /* what people read */
  char authorisation[CONF_TEXT_MAX];         /* its reference as the site files it, or "" */
  struct conf_act acts[ACQ_MEASUREMENT + 1]; /* by enum acq_modality; conf_act() finds those that are open */
  char where[CONF_PATH_MAX + 16];            /* file:line, for messages */
};

struct conf {
  char store[CONF_PATH_MAX];
  char socket[CONF_PATH_MAX]; /* "" when systemd passes the socket or only TCP is wanted */
  char listen[CONF_TEXT_MAX]; /* loopback address:port, or "" */
  char hosts[CONF_TEXT_MAX];  /* names, separated by spaces, under which browsers get there through a proxy, or "" */
  char driver_program[CONF_PATH_MAX];
  char export_program[CONF_PATH_MAX];
  char devices_dir[CONF_PATH_MAX];
  char protocols_dir[CONF_PATH_MAX];
  char messages[CONF_PATH_MAX];
  char media[CONF_PATH_MAX]; /* where sticks are mounted, each under the name of its block device */
  int log_level;
  int production; /* bool: identities of the INS's test and demonstration ranges are refused */
  char site_name[CONF_TEXT_MAX];
  char site_finess[CONF_FINESS_MAX];      /* as written, not checked; or "" */
  uint32_t idle_minutes;                  /* a login that is not used ends after that */
  uint32_t login_hours;                   /* and any login after that */
  uint32_t claim_minutes;                 /* a claim ends by itself after that */
  uint32_t page_minutes;                  /* a call to the GP that nobody acknowledged goes to every GP after that */
  uint32_t remind_hours;                  /* before a study is due */
  uint32_t active_months, archive_months; /* kept in the active base, then archived */
  int reference_values;                   /* bool: predicted values, limits and z-scores for the GP */
  struct conf_device devices[CONF_DEVICES_MAX];
  unsigned n_devices;
  struct conf_protocol *protocols[CONF_PROTOCOLS_MAX]; /* owned, in the order they were read */
  unsigned n_protocols;
};

/* conf_finish() frees what was read since: a conf that holds protocols is finished before it gets its defaults again.
 */
void conf_defaults(struct conf *c);
void conf_finish(struct conf *c);

/* Reads a file over *c; missing_ok for the default path. Prints each error as "file:line: message" on standard error
 * and goes on to the end; -EINVAL when there was one. */
int conf_read(struct conf *c, const char *path, bool missing_ok);

/* Reads every *.conf of c->devices_dir, by name. A missing folder holds no devices. */
int conf_read_devices(struct conf *c);

/* Reads every *.conf of c->protocols_dir, by name. A missing folder holds no protocols. */
int conf_read_protocols(struct conf *c);

/* NULL when there is none of that id. */
const struct conf_protocol *conf_protocol(const struct conf *c, const char *id);
/* NULL when the protocol does not open the act, or it is none of the four. */
const struct conf_act *conf_act(const struct conf_protocol *p, enum acq_modality act);

/* A loopback "address:port" (127.0.0.0/8 or [::1]). */
bool conf_is_loopback(const char *listen);

#endif
