/* Configuration: INI files ("key = value" under "[section]" or "[section name]", # or ; starts a comment line).
 * An unknown section or key, a duplicate key, or a value that does not fit is an error with its file and line. */
#ifndef ASALEED_CONF_H
#define ASALEED_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONF_TEXT_MAX 256
#define CONF_PATH_MAX 512
#define CONF_DEVICES_MAX 64

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

/* A view of a retinography that the site's protocol asks for: one field of one eye. */
struct conf_view {
  char laterality[2]; /* "L", "R" */
  char field[8];      /* "macula", "disc", "other" */
};
#define CONF_VIEWS_MAX 16

struct conf_views {
  struct conf_view list[CONF_VIEWS_MAX]; /* macula and disc at most once an eye */
  unsigned n;                            /* 1.. */
};

bool conf_is_laterality(const char *text);
bool conf_is_field(const char *text);

struct conf {
  char store[CONF_PATH_MAX];
  char socket[CONF_PATH_MAX]; /* "" when systemd passes the socket or only TCP is wanted */
  char listen[CONF_TEXT_MAX]; /* loopback address:port, or "" */
  char driver_program[CONF_PATH_MAX];
  char export_program[CONF_PATH_MAX];
  char devices_dir[CONF_PATH_MAX];
  char messages[CONF_PATH_MAX];
  char media[CONF_PATH_MAX]; /* where sticks are mounted, each under the name of its block device */
  int log_level;
  uint32_t claim_minutes; /* a claim ends by itself after that */
  uint32_t due_hours_ecg, due_hours_spirometry, due_hours_fundus, due_hours_measurement; /* from acceptance on */
  int reference_values;    /* bool: predicted values, limits and z-scores for the GP */
  struct conf_views views; /* of a retinography */
  struct conf_device devices[CONF_DEVICES_MAX];
  unsigned n_devices;
};

void conf_defaults(struct conf *c);

/* Reads a file over *c; missing_ok for the default path. Prints each error as "file:line: message" on standard error
 * and goes on to the end; -EINVAL when there was one. */
int conf_read(struct conf *c, const char *path, bool missing_ok);

/* Reads every *.conf of c->devices_dir, by name. A missing folder holds no devices. */
int conf_read_devices(struct conf *c);

/* A loopback "address:port" (127.0.0.0/8 or [::1]). */
bool conf_is_loopback(const char *listen);

#endif
