/* SPDX-License-Identifier: MIT
 * Makes /dev/dm-0, which writes to one device and records every write on another
 * (Documentation/admin-guide/device-mapper/log-writes.rst). For test systems without dmsetup:
 *     dmlog SECTORS DEVICE LOG
 */
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

static struct {
	struct dm_ioctl head;
	struct dm_target_spec target;
	char parameters[256];
} request;

static void step(int control, unsigned long number, const char *what)
{
	request.head.version[0] = DM_VERSION_MAJOR;
	request.head.data_size = sizeof request;
	request.head.data_start = sizeof request.head;
	strcpy(request.head.name, "log");
	if (ioctl(control, number, &request) != 0) {
		perror(what);
		exit(1);
	}
}

int main(int argc, char **argv)
{
	int control = open("/dev/mapper/control", O_RDWR);

	if (argc != 4 || control < 0) {
		fprintf(stderr, "usage: dmlog SECTORS DEVICE LOG; needs /dev/mapper/control\n");
		return 1;
	}
	step(control, DM_DEV_CREATE, "create");

	memset(&request, 0, sizeof request);
	request.head.target_count = 1;
	request.target.length = strtoull(argv[1], NULL, 10);
	strcpy(request.target.target_type, "log-writes");
	snprintf(request.parameters, sizeof request.parameters, "%s %s", argv[2], argv[3]);
	step(control, DM_TABLE_LOAD, "load the table");

	memset(&request, 0, sizeof request);
	step(control, DM_DEV_SUSPEND, "start"); /* without DM_SUSPEND_FLAG: resume */
	return 0;
}
