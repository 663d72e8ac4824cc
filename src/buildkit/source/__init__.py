"""Where builds begin: images, local directories, and the policies that rule over them."""
