/* SPDX-License-Identifier: MIT
 * Makes /dev/dm-0, or gives it another table while it is in use, as dmsetup does; for test systems without it:
 *     dmtable "0 8 error" "8 1000 linear /dev/ubda 8"
 */
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

static union {
	struct dm_ioctl head;
	char room[8192];
} request;

static void prepare(void)
{
	memset(&request, 0, sizeof request);
	request.head.version[0] = DM_VERSION_MAJOR;
	request.head.data_size = sizeof request;
	request.head.data_start = sizeof request.head;
	strcpy(request.head.name, "root");
}

static void step(int control, unsigned long number, const char *what)
{
	if (ioctl(control, number, &request) != 0) {
		perror(what);
		exit(1);
	}
}

int main(int argc, char **argv)
{
	int control = open("/dev/mapper/control", O_RDWR);
	size_t at = sizeof request.head;

	prepare();
	if (ioctl(control, DM_DEV_CREATE, &request) != 0) {
		/* It is there already. What it is asked for meanwhile waits for the new table. */
		prepare();
		request.head.flags = DM_SUSPEND_FLAG | DM_NOFLUSH_FLAG | DM_SKIP_LOCKFS_FLAG;
		step(control, DM_DEV_SUSPEND, "suspend");
	}
	prepare();
	request.head.target_count = argc - 1;
	for (int i = 1; i < argc; i++) {
		struct dm_target_spec *target = (void *)(request.room + at);
		unsigned long long start, length;
		int rest = strlen(argv[i]);

		sscanf(argv[i], "%llu %llu %15s %n", &start, &length, target->target_type, &rest);
		target->sector_start = start;
		target->length = length;
		target->next = (sizeof *target + strlen(argv[i] + rest) + 8) & ~7UL;
		strcpy((char *)(target + 1), argv[i] + rest);
		at += target->next;
	}
	step(control, DM_TABLE_LOAD, "load the table");
	prepare();
	step(control, DM_DEV_SUSPEND, "start"); /* without DM_SUSPEND_FLAG: resume */
	return 0;
}
