#include <stdio.h>

int main(void) {
    char line[256];
    FILE *motd = fopen("/etc/motd", "r");
    if (motd == NULL || fgets(line, sizeof line, motd) == NULL) {
        fprintf(stderr, "greeter: no message of the day\n");
        return 1;
    }
    printf("%s, %s", GREETING, line);
    return 0;
}
