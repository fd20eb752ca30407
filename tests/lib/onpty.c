// SPDX-License-Identifier: MIT
// Runs a command on a pseudo terminal of its own and prints what it writes there:
//     onpty [-c TEXT] COMMAND [ARGUMENT]...
// When it has written TEXT for the first time, Ctrl-C is typed. Exit status: the command's, or 128 and the number of
// the signal that ended it.

#include <pty.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    static char all[1 << 20];
    const char *text = NULL;
    struct winsize size = { .ws_row = 24, .ws_col = 80 };
    size_t length = 0;
    int first = 1, master, status;

    if (argc > 3 && strcmp(argv[1], "-c") == 0) {
        text = argv[2];
        first = 3;
    }
    if (first >= argc) {
        fprintf(stderr, "usage: onpty [-c TEXT] COMMAND [ARGUMENT]...\n");
        return 2;
    }
    pid_t child = forkpty(&master, NULL, NULL, &size);
    if (child < 0) {
        perror("forkpty");
        return 2;
    }
    if (child == 0) {
        execvp(argv[first], argv + first);
        perror(argv[first]);
        _exit(127);
    }
    for (;;) {
        ssize_t count = read(master, all + length, sizeof all - 1 - length);
        if (count <= 0)
            break; // nobody has the terminal open any more
        length += count;
        if (text && strstr(all, text)) {
            text = NULL;
            if (write(master, "\003", 1) != 1)
                perror("write");
        }
    }
    fwrite(all, 1, length, stdout);
    if (waitpid(child, &status, 0) != child)
        return 2;
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
