/* Passwords: Argon2id (RFC 9106) by libsodium, with its limits for interactive use: 64 MiB, two passes, ~100 ms.
 *
 * That is too long for the event loop: each is computed in a process of its own, one at a time, the others wait. */
#ifndef ASALEED_PASSWORD_H
#define ASALEED_PASSWORD_H

#include "worker.h"

#define PASSWORD_MIN 12 /* bytes */
#define PASSWORD_MAX 128
#define PASSWORD_ENCODED_MAX 128 /* with its NUL */
#define PASSWORD_WAITING_MAX 32  /* beside the one that is computed */

struct passwords;

/* SIGCHLD is blocked (sd_event_add_child(3)), hash_open() was called. */
int passwords_open(sd_event *event, struct passwords **ret);
void passwords_close(struct passwords *p); /* who still waits is not called back */

/* Both copy the text, and wipe their copies. They return 0 and call back once, from a later turn of the loop, or return
 * a negative errno and never call back: -EBUSY, too many wait already.
 *
 * What could not be computed is told as -EIO (its process crashed, was killed, or was not done within 10 s) or as why
 * there is no process (-EAGAIN, -ENOMEM): that says nothing about the password, and is no wrong one. */

/* -EINVAL: longer than PASSWORD_MAX. Calls back with 0 and the encoded hash, good until the callback returns, or with
 * an error and NULL. */
int password_hash(struct passwords *p, const char *text, void (*done)(void *arg, int err, const char *encoded),
                  void *arg);

/* Calls back with 0 when the text is the password, with -EACCES when it is not. needs_rehash: it is, but was hashed
 * with other limits than today's. `encoded` NULL is the password of nobody: takes as long, and is never right.
 * -EUCLEAN: `encoded` is no hash of ours. */
int password_check(struct passwords *p, const char *text, const char *encoded,
                   void (*done)(void *arg, int err, bool needs_rehash), void *arg);

enum password_fault {
  PASSWORD_GOOD,
  PASSWORD_TOO_SHORT,  /* less than PASSWORD_MIN bytes */
  PASSWORD_TOO_LONG,   /* more than PASSWORD_MAX */
  PASSWORD_UNCLEAN,    /* not UTF-8, or with controls */
  PASSWORD_IS_NAME,    /* the account's name and less than 8 bytes more, whatever the case and punctuation */
  PASSWORD_REPETITIVE, /* less than 5 different bytes, or a shorter password several times */
  PASSWORD_COMMON,     /* one of the most used, whatever the case */
};
/* Whether a person may choose it. */
enum password_fault password_judge(const char *text, const char *account);

#define PASSWORD_MADE 24
/* An initial one, 90 bits: four groups of five letters, which look different from each other and lie on the keyboard
 * without shift. "kwzfa-rbtyh-qmcde-npsvx" */
void password_make(char ret[static PASSWORD_MADE]);

#endif
