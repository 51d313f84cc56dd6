# category=files kind=script expect=error
# The host's files are not there to be read.
print("ESCAPED", open("/tmp/sbxhost/secret.txt").read())
