// SPDX-License-Identifier: MIT
/* Appends a byte to each of the files /srv/many/00/000 to /srv/many/99/999: a hundred thousand of them are changed. */
#include "guest.h"

enum { WRITE_ONLY = 1, APPEND = 02000 };

static char path[] = "/srv/many/00/000";

static void digits(char *last, int number, int count)
{
    for (; count; count--, number /= 10)
        *last-- = '0' + number % 10;
}

START
{
    (void)stack;
    for (int number = 0; number < 100000; number++) {
        long file;

        digits(path + 11, number / 1000, 2);
        digits(path + 15, number % 1000, 3);
        file = open_file(path, WRITE_ONLY | APPEND);
        if (file < 0 || call(SYS_write, file, (word)"+", 1, 0, 0) != 1)
            call(SYS_exit, 1, 0, 0, 0, 0);
        call(SYS_close, file, 0, 0, 0, 0);
    }
    call(SYS_exit, 0, 0, 0, 0, 0);
    for (;;)
        ;
}
