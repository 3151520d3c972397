select origin, carrier, flight_date, count(*) as flights
from nycflights13.flights
where flight_date between '2013-01-01' and '2013-01-31'
group by origin, carrier, flight_date
