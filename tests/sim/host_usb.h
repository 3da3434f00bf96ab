/* Of hosts of USB instruments: finding the device, which may have been plugged in just now. */
#ifndef ASALEED_SIM_HOST_USB_H
#define ASALEED_SIM_HOST_USB_H

#include "host.h"
#include <libusb-1.0/libusb.h>
#include <stdbool.h>
#include <unistd.h>

#define HOST_PLUGGED_MS 4000

/* The device, opened, or NULL when it is not there. */
static inline libusb_device_handle *host_usb_find(libusb_context *context, bool (*is_it)(libusb_device *, void *),
                                                  void *arg) {
  libusb_device_handle *handle = NULL;
  libusb_device **list;
  ssize_t n = libusb_get_device_list(context, &list);
  for (ssize_t i = 0; i < n && !handle; i++)
    if (is_it(list[i], arg))
      libusb_open(list[i], &handle);
  if (n >= 0)
    libusb_free_device_list(list, 1);
  return handle;
}

/* Waits for it; with its interface 0 claimed. */
static inline libusb_device_handle *host_usb_open(libusb_context *context, bool (*is_it)(libusb_device *, void *),
                                                  void *arg) {
  libusb_device_handle *handle = NULL;
  for (unsigned ms = 0; ms < HOST_PLUGGED_MS && !(handle = host_usb_find(context, is_it, arg)); ms++)
    usleep(1000);
  NEED(handle);
  NEED(libusb_claim_interface(handle, 0) == 0);
  return handle;
}

#endif
