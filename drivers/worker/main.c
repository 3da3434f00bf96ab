#include "commands.h"
#include "drivers.h"
#include "log.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#ifndef ASALEED_VERSION
#define ASALEED_VERSION "unreleased"
#endif

static const char usage[] =
    "usage: asaleed-driver list [--json]\n"
    "       asaleed-driver decode DRIVER FILE [--raw] [--samples]\n"
    "       asaleed-driver udev\n"
    "       asaleed-driver run | collect\n"
    "       asaleed-driver --help | --version\n"
    "\n"
    "list     the drivers, what they speak to and how far they have been tried\n"
    "decode   the record that a capture holds, as canonical JSON\n"
    "           --raw      FILE holds bare received bytes\n"
    "           --samples  the samples as CSV instead, one column a channel, empty where they are missing\n"
    "udev     the rules that open the instruments' nodes to asaleed\n"
    "run      one acquisition; only asaleed starts this\n"
    "collect  copies the files of a stick or folder; only asaleed starts this\n";

static int wrong(void) {
  fputs(usage, stderr);
  return 2;
}

/* Sets the flag whose name is the argument; false when there is none. */
static bool flag(const char *argument, const char *name, bool *ret) {
  if (strcmp(argument, name))
    return false;
  *ret = true;
  return true;
}

static int parse_decode(int n, char **arguments) {
  struct decode_options o = {0};
  for (int i = 0; i < n; i++) {
    const char *a = arguments[i];
    if (flag(a, "--raw", &o.raw) || flag(a, "--samples", &o.samples))
      continue;
    if (a[0] == '-' || o.file)
      return wrong();
    *(o.driver ? &o.file : &o.driver) = a;
  }
  return o.file ? command_decode(acq_drivers, &o) : wrong();
}

int main(int argc, char **argv) {
  const char *command = argc > 1 ? argv[1] : "";
  char why[DRIVERS_WHY_MAX];
  log_open("asaleed-driver", LOG_INFO);
  if (drivers_check(acq_drivers, why) < 0) {
    log_error("the table of drivers is wrong: %s", why);
    return 1;
  }
  if (!strcmp(command, "run") && argc == 2)
    command_run(acq_drivers);
  if (!strcmp(command, "collect") && argc == 2)
    command_collect();
  if (!strcmp(command, "list") && argc == 2)
    return command_list(acq_drivers, false);
  if (!strcmp(command, "list") && argc == 3 && !strcmp(argv[2], "--json"))
    return command_list(acq_drivers, true);
  if (!strcmp(command, "udev") && argc == 2)
    return command_udev(acq_drivers);
  if (!strcmp(command, "decode")) {
    int status = parse_decode(argc - 2, argv + 2);
    fflush(stdout);
    _exit(status); /* in the sandbox, where an exit handler (a sanitizer's leak check) would be refused what it needs */
  }
  if (!strcmp(command, "--help") && argc == 2)
    return fputs(usage, stdout) < 0;
  if (!strcmp(command, "--version") && argc == 2)
    return puts("asaleed-driver " ASALEED_VERSION) < 0;
  return wrong();
}
