/* SPDX-License-Identifier: MIT
 * Makes /dev/dm-0, which writes to one device and records every write on another
 * (Documentation/admin-guide/device-mapper/log-writes.rst). For test systems without dmsetup:
 *     dmlog SECTORS DEVICE LOG
 *     dmlog NAME              a mark of this name in the log
 *     dmlog NAME flush        the same, after a flush: what was written before it is in the log
 */
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static struct {
	struct dm_ioctl head;
	union {
		struct {
			struct dm_target_spec target;
			char parameters[256];
		};
		struct {
			__u64 sector; /* struct dm_target_msg */
			char message[256];
		};
	};
} request;

static void step(int control, unsigned long number, const char *what)
{
	request.head.version[0] = DM_VERSION_MAJOR;
	request.head.data_size = sizeof request;
	request.head.data_start = offsetof(typeof(request), target);
	strcpy(request.head.name, "log");
	if (ioctl(control, number, &request) != 0) {
		perror(what);
		exit(1);
	}
}

int main(int argc, char **argv)
{
	int control = open("/dev/mapper/control", O_RDWR);

	if (argc < 2 || argc > 4 || control < 0) {
		fprintf(stderr, "usage: dmlog SECTORS DEVICE LOG | dmlog MARK [flush]\n");
		return 1;
	}
	if (argc == 3 && fsync(open("/dev/dm-0", O_RDONLY)) != 0) {
		perror("flush /dev/dm-0");
		return 1;
	}
	if (argc < 4) {
		snprintf(request.message, sizeof request.message, "mark %s", argv[1]);
		step(control, DM_TARGET_MSG, "mark");
		return 0;
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
